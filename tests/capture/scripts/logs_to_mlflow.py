"""Two runs of the script's own, with a parameter that capture records under the same name."""

import os
import sys

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow
import torch

mlflow.set_tracking_uri(sys.argv[1])
if len(sys.argv) > 2:
    mlflow.set_experiment(sys.argv[2])
for rate in (0.1, 0.2):
    with mlflow.start_run() as run:
        model = torch.nn.Linear(2, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=rate)
        for step in range(2):
            loss = model(torch.ones(1, 2)).sum()
            loss.backward()
            optimizer.step()
            mlflow.log_metric("my/loss", loss.item(), step=step)
        mlflow.log_param("optimizer", "sgd, plain")
        mlflow.log_params({"learning_rate": rate * 2, "other": 5})
        mlflow.log_metrics({"a": 1.0, "b": 2}, step=9)
    print(run.info.run_id)
