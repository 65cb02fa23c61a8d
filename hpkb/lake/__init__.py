"""The lake: the runs of many stores as Parquet files, in a folder or in object storage.

    KIND/experiment=E/task=T/month=YYYY-MM/PART.parquet
    _hpkb/manifest-00000012.json

A *part* is a batch of runs of one experiment, task and month: one file of each kind (`FILES`), the same name in each.
A file is never altered. What the lake holds is what its last manifest lists, so that a reader sees a state that was
whole; a writer makes its files first and its manifest last, under a number that nobody else has taken. A run that
changed gets a new part, and the others of its old part are copied into another; `compact` merges small parts and
deletes the files that no manifest of the last day lists.

Points are sorted by run, metric, step, time and value, and stand in a file from row `first_row` on, `n_points` of them:
so the features say. Experiment, task and month are in the paths, as Hive has it, with %-signs for what a path cannot
hold; no month means no start is known. Everything else is plain Parquet that DuckDB, Spark or Polars read as it is.
"""
