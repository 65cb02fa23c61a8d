"""Whatever dies between the training loop and MLflow, nothing that was logged is lost: real processes, real stores."""
