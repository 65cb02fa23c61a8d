import argparse
import random
import sys

parser = argparse.ArgumentParser()
commands = parser.add_subparsers(dest="command")
fit = commands.add_parser("fit")
fit.add_argument("--alpha", type=float, default=0.5)
fit.add_argument("--token", default="hidden-token")
fit.set_defaults(run=print)
args = parser.parse_args()
random.seed(21)
print("alpha", args.alpha, random.random(), sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.fileno())
for epoch in range(3):
    sys.stderr.write(f"\rprogress: {epoch}")
    print(f"epoch {epoch + 1}: score: {epoch / 2}")
print("score: 9.5, cuda:0 at 10:30, Linear(in_features=3)")
sys.stderr.write("\rprogress: 99\n")
