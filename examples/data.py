"""The data of the examples: what scikit-learn ships, read by path, as importing `sklearn.datasets` takes a second."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np


def _folder() -> Path:
    found = find_spec("sklearn")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The examples read the data that scikit-learn ships. Try: pip install scikit-learn")
    return Path(found.submodule_search_locations[0]) / "datasets"


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images of 8 x 8 with values from 0 to 1, (n, 64), and their digits, (n,)."""
    table = np.loadtxt(_folder() / "data" / "digits.csv.gz", delimiter=",", dtype=np.float32)
    return table[:, :-1] / 16, table[:, -1].astype(np.int64)


def breast_cancer() -> tuple[np.ndarray, np.ndarray]:
    """569 tumours with 30 measurements each, (n, 30), and whether they are benign, (n,)."""
    table = np.loadtxt(_folder() / "data" / "breast_cancer.csv", delimiter=",", skiprows=1, dtype=np.float32)
    return table[:, :-1], table[:, -1]


def diabetes() -> tuple[np.ndarray, np.ndarray]:
    """442 patients with 10 measurements each, (n, 10), and how far the disease went in a year, (n,)."""
    x = np.loadtxt(_folder() / "data" / "diabetes_data_raw.csv.gz", dtype=np.float32)
    return x, np.loadtxt(_folder() / "data" / "diabetes_target.csv.gz", dtype=np.float32)


def english_text() -> str:
    """The descriptions of scikit-learn's data sets, some 40,000 characters, lower case, runs of blanks joined."""
    pages = sorted((_folder() / "descr").glob("*.rst"))
    return " ".join(" ".join(page.read_text(encoding="utf-8") for page in pages).lower().split())
