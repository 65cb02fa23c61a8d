import sys

print("accuracy: 0.5")
sys.exit(3)
