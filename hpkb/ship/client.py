"""MLflow's client, imported so that it neither talks on the terminal nor waits for minutes. Costs seconds to import.

MLflow reads its settings from the environment, some of them while it is imported; what a person has set there stays,
but for the repeats of a request: MLflow would ask a second time for a run whose making was answered too late, and then
there are two. The shipper repeats what failed itself, and looks first for what the store has.
"""

import logging
import os

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

from mlflow import MlflowClient as MlflowClient  # noqa: E402
from mlflow.entities import Dataset as Dataset  # noqa: E402
from mlflow.entities import DatasetInput as DatasetInput  # noqa: E402
from mlflow.entities import InputTag as InputTag  # noqa: E402
from mlflow.entities import Metric as Metric  # noqa: E402
from mlflow.entities import Param as Param  # noqa: E402
from mlflow.entities import Run as Run  # noqa: E402
from mlflow.entities import RunTag as RunTag  # noqa: E402
from mlflow.exceptions import MlflowException as MlflowException  # noqa: E402

for _name in ("mlflow", "alembic", "urllib3", "sqlalchemy"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
