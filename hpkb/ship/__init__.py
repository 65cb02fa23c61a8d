"""From the training job to MLflow: the launcher, the run folder, and the process that ships what was spooled."""
