"""MLflow's client, imported so that it neither talks on the terminal nor waits for minutes. Costs seconds to import.

MLflow reads its settings from the environment, some of them while it is imported; what a person has set there stays.
"""

import logging
import os

_SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the default of 7 blocks for four minutes; the spool can wait
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)

from mlflow import MlflowClient as MlflowClient  # noqa: E402
from mlflow.entities import Dataset as Dataset  # noqa: E402
from mlflow.entities import DatasetInput as DatasetInput  # noqa: E402
from mlflow.entities import InputTag as InputTag  # noqa: E402
from mlflow.entities import Metric as Metric  # noqa: E402
from mlflow.entities import Param as Param  # noqa: E402
from mlflow.entities import Run as Run  # noqa: E402
from mlflow.entities import RunTag as RunTag  # noqa: E402

for _name in ("mlflow", "alembic", "urllib3", "sqlalchemy"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
