-- The knowledge base: one DuckDB file. It is a cache of the sources and can be deleted and rebuilt.
-- Times are UTC. Text identifiers stay as their source wrote them.
-- The large tables have no primary key: DuckDB's index would take three times the room of the rows and most of the time
-- of an ingest. `kb/unique.py` checks what came in instead.

-- One row per fact about the file itself: schema version, hpkb version, the settings of the last analysis.
CREATE TABLE IF NOT EXISTS meta (
    name  TEXT PRIMARY KEY,
    value TEXT
);

-- One row per source that was brought in (an MLflow store, an imported table).
CREATE TABLE IF NOT EXISTS sources (
    source      TEXT PRIMARY KEY,   -- the tracking URI without a password, or the table's path
    kind        TEXT NOT NULL,      -- mlflow_sqlite, table, …
    ingested_at TIMESTAMP NOT NULL
);

-- One row per task: what is trained, on what data, for which objective.
CREATE TABLE IF NOT EXISTS tasks (
    task_id   TEXT PRIMARY KEY,
    name      TEXT NOT NULL,
    metric    TEXT NOT NULL,        -- the objective's metric
    direction TEXT NOT NULL,        -- min or max
    grouped_by       TEXT,          -- what made its runs one task: 'tag hpkb.task', 'experiment and model', …
    objective_reason TEXT           -- why it is judged by that metric
);

-- One row per run that is active in its source, finished or not. A run that only stands above those of a job's
-- trainings is none.
CREATE TABLE IF NOT EXISTS runs (
    run_id            TEXT PRIMARY KEY,
    task_id           TEXT,         -- NULL until the run has a task
    stated_task       TEXT,         -- the task that a correction or the source gives; NULL where nobody does
    stated_by         TEXT,         -- 'hpkb.toml', 'tag hpkb.task', 'task column', 'study', …
    stated_objectives TEXT[],       -- METRIC:min or METRIC:max, the preferred first, that a correction or source gives
    objectives_by     TEXT,
    source            TEXT NOT NULL,
    experiment        TEXT,
    run_name          TEXT,
    status            TEXT,         -- RUNNING, FINISHED, FAILED, KILLED
    started_at        TIMESTAMP,
    ended_at          TIMESTAMP,
    configuration_id  TEXT,         -- a digest of the hyperparameters without the seed
    seed              BIGINT,
    objective_of      TEXT,         -- METRIC:min or METRIC:max: what the three objectives below are of
    objective         DOUBLE,       -- as logged: the last value of the objective's metric
    objective_best          DOUBLE, -- as logged: its best finite value
    objective_smoothed_best DOUBLE, -- as logged: its best mean over a window of a twentieth of the points
    objective_min     DOUBLE,       -- lower is better; NULL where infeasible or absent
    infeasible        BOOLEAN NOT NULL DEFAULT false,
    infeasible_reason TEXT,         -- 'objective is NaN', 'train_loss is infinite', 'out of memory', …
    end_reason        TEXT,
    fingerprint       TEXT NOT NULL -- of the run's state in its source; unchanged means: do not read it again
);

-- One row per run and recorded parameter. `value_number` is NULL where the text is no finite number.
CREATE TABLE IF NOT EXISTS hyperparameters (
    run_id       TEXT NOT NULL,
    name         TEXT NOT NULL,     -- canonical where known, else as the source has it (cli.NAME, …); ambiguous.NAME
                                    -- where it can be read in two ways
    value_text   TEXT,
    value_number DOUBLE,
    origin       TEXT NOT NULL,     -- param, tag, imported, fixed, derived
    recorded     TEXT NOT NULL      -- the name that the source has, or what it was derived from
);

-- One row per run and data split.
CREATE TABLE IF NOT EXISTS splits (
    run_id     TEXT NOT NULL,
    role       TEXT NOT NULL,       -- training, validation, test
    digest     TEXT,
    n_examples BIGINT
);

-- One row per run and fact about its hardware, code or environment (tags hpkb.hw.*, hpkb.code.*, hpkb.env.*).
CREATE TABLE IF NOT EXISTS hardware (
    run_id TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT
);

-- One row per curve. A curve's number means nothing outside this file.
CREATE TABLE IF NOT EXISTS curve_names (
    curve  INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    metric TEXT NOT NULL
);

-- One row per point. Those of a curve stand together, in the order of step, timestamp and value, and so take little
-- room; text instead of the curve's number would make every sum over them several times as slow.
CREATE TABLE IF NOT EXISTS curve_points (
    curve     INTEGER NOT NULL,
    step      BIGINT NOT NULL,
    timestamp TIMESTAMP,
    value     DOUBLE
);

-- One row per file of points in a lake, whose curves stay there.
CREATE TABLE IF NOT EXISTS lake_files (
    part     INTEGER NOT NULL,      -- means nothing outside this file
    lake     TEXT NOT NULL,         -- the lake's address; its source
    points   TEXT NOT NULL,         -- the addresses of the two files
    features TEXT NOT NULL
);

-- One row per run whose curves are in a lake.
CREATE TABLE IF NOT EXISTS lake_runs (
    run_id TEXT NOT NULL,
    part   INTEGER NOT NULL,
    store  TEXT NOT NULL            -- that the run came into the lake from
);

-- One row per point of a curve. NaN and infinities are kept as such. Where runs have their curves in a lake, an analysis
-- puts a view in the place of this one that reads them there as well.
CREATE VIEW IF NOT EXISTS curves AS
SELECT run_id, metric, step, timestamp, value FROM curve_points JOIN curve_names USING (curve);

-- One row per run and metric: what is needed of a curve without reading it again. Everything but n_points,
-- n_nonfinite, the first and the last is of the finite values. The tail is the last tenth of the points, at least one;
-- windows are twenty of as many points each, or as many as there are points.
CREATE TABLE IF NOT EXISTS curve_features (
    run_id       TEXT NOT NULL,
    metric       TEXT NOT NULL,
    n_points     BIGINT NOT NULL,
    n_nonfinite  BIGINT NOT NULL,
    first_step   BIGINT,
    last_step    BIGINT,
    first_value  DOUBLE,
    last_value   DOUBLE,
    minimum      DOUBLE,
    minimum_step BIGINT,
    maximum      DOUBLE,
    maximum_step BIGINT,
    tail_mean    DOUBLE,
    tail_sd      DOUBLE,
    direction          TEXT NOT NULL,   -- min or max, by the metric's name; else the way from first value to tail
    best               DOUBLE,          -- the minimum or the maximum, by the direction
    best_step          BIGINT,
    smoothed_best      DOUBLE,          -- the best mean of a window
    smoothed_best_step BIGINT,          -- the last step of that window
    area               DOUBLE,          -- under the curve by trapezoids, over the steps it spans: a mean over steps
    slope              DOUBLE,          -- a step, by least squares over the tail, of ten points at least
    slope_error        DOUBLE,          -- its standard error if the scatter is independent; NULL below three points
    still_improving    BOOLEAN,         -- the slope is for the better by more than twice its error
    plateau_step       BIGINT,          -- from here on, for five windows at least, none is off the last by three errors
    n_spikes           BIGINT NOT NULL, -- changes for the worse of seven times the usual scatter of a change
    diverged           BOOLEAN NOT NULL,-- the last value is not finite, or what is to fall ends at twice its first value
    step_to_90         BIGINT,          -- the first step at 90 per cent of the way from the first value to the best
    step_to_95         BIGINT,
    step_to_99         BIGINT,
    seconds_to_90      DOUBLE,          -- from the first point to that one
    seconds_to_95      DOUBLE,
    seconds_to_99      DOUBLE
);

-- One row per run that has a training and a validation curve of one kind (the best known): by how much validation is
-- worse. Both are averaged over twenty windows of the steps that they have in common.
CREATE TABLE IF NOT EXISTS generalization_gaps (
    run_id            TEXT NOT NULL,
    training_metric   TEXT NOT NULL,
    validation_metric TEXT NOT NULL,
    n_windows         BIGINT NOT NULL,  -- in which both have a point
    gap               DOUBLE NOT NULL,  -- in the last of them; positive: validation is worse
    gap_slope         DOUBLE,           -- a step, by least squares over the windows
    gap_slope_error   DOUBLE,
    is_widening       BOOLEAN           -- the slope is positive by more than twice its error
);

-- One row per finding of the last analysis. `document` is the JSON of the contract, but with `run_list` in place of
-- `run_ids` where there are many of them, which most findings of a task have in common; `figure` the chart's numbers.
CREATE TABLE IF NOT EXISTS findings (
    finding_id TEXT PRIMARY KEY,
    miner      TEXT NOT NULL,
    task       TEXT,
    quantity   TEXT NOT NULL,
    verdict    TEXT NOT NULL,
    claim      TEXT NOT NULL,
    estimate   DOUBLE,
    low        DOUBLE,
    high       DOUBLE,
    p_value    DOUBLE,
    q_value    DOUBLE,
    document   TEXT NOT NULL,
    figure     TEXT NOT NULL
);

-- One row per finding and run that it rests on.
CREATE TABLE IF NOT EXISTS finding_runs (
    finding_id TEXT NOT NULL,
    run_id     TEXT NOT NULL
);

-- One row per list of runs that findings rest on, in the order in which their documents have them.
CREATE TABLE IF NOT EXISTS run_lists (
    run_list TEXT NOT NULL,         -- a digest of the runs
    run_ids  TEXT[] NOT NULL
);

-- One row per task and part of what mining gave of it before all tasks are looked at together: 'findings', 'default'.
CREATE TABLE IF NOT EXISTS mined (
    task    TEXT NOT NULL,
    part    TEXT NOT NULL,
    made_of TEXT NOT NULL,          -- a digest of the task's runs, the code, the seed and the miners
    size    BIGINT NOT NULL,        -- of the content, in bytes, before it was compressed
    content BLOB NOT NULL           -- JSON, compressed by zstd
);

-- One row per task with a recommendation; task '' is the recommendation over all tasks. `document` is its JSON.
CREATE TABLE IF NOT EXISTS defaults (
    task     TEXT PRIMARY KEY,
    verdict  TEXT NOT NULL,
    document TEXT NOT NULL
);

-- One row per task: the next experiments, as `hpkb suggest` proposed them after the last analysis. `document` is its JSON.
CREATE TABLE IF NOT EXISTS suggestions (
    task     TEXT PRIMARY KEY,
    document TEXT NOT NULL
);

-- One row per task: what `hpkb check` needs of it, so that it need not load its runs; see `suggest/outline.py`.
CREATE TABLE IF NOT EXISTS outlines (
    task     TEXT NOT NULL,
    made_of  TEXT NOT NULL,         -- a digest of the task's runs and of the code
    document TEXT,                  -- JSON; NULL once the findings or recommendations that it was made with are gone
    forest   BLOB                   -- that predicts the regret of a configuration, where the task is not too large
);

-- One row per part of the edition before this one: what the analysis found that last found something else. `document` is
-- of a finding what it says, of a recommendation its verdict and first configuration, of the edition its number and runs.
CREATE TABLE IF NOT EXISTS last_edition (
    kind     TEXT NOT NULL,         -- edition, finding, default
    name     TEXT NOT NULL,         -- '', the finding's id, the task ('' for all tasks)
    document TEXT NOT NULL
);

-- One row per run that ended, has a task and an outcome (an objective, or infeasible); a column a canonical hyperparameter.
CREATE OR REPLACE VIEW run_matrix AS
SELECT r.run_id, r.task_id, r.configuration_id, r.seed, r.objective, r.objective_min, r.infeasible,
    max(h.value_number) FILTER (h.name = 'learning_rate')      AS learning_rate,
    max(h.value_number) FILTER (h.name = 'peak_learning_rate') AS peak_learning_rate,
    max(h.value_number) FILTER (h.name = 'weight_decay')       AS weight_decay,
    max(h.value_text)   FILTER (h.name = 'optimizer')          AS optimizer,
    max(h.value_number) FILTER (h.name = 'momentum')           AS momentum,
    max(h.value_text)   FILTER (h.name = 'nesterov')           AS nesterov,
    max(h.value_number) FILTER (h.name = 'beta1')              AS beta1,
    max(h.value_number) FILTER (h.name = 'beta2')              AS beta2,
    max(h.value_number) FILTER (h.name = 'epsilon')            AS epsilon,
    max(h.value_number) FILTER (h.name = 'batch_size')         AS batch_size,
    max(h.value_number) FILTER (h.name = 'micro_batch_size')   AS micro_batch_size,
    max(h.value_number) FILTER (h.name = 'accumulation_steps') AS accumulation_steps,
    max(h.value_number) FILTER (h.name = 'world_size')         AS world_size,
    max(h.value_text)   FILTER (h.name = 'lr_schedule')        AS lr_schedule,
    max(h.value_number) FILTER (h.name = 'warmup_steps')       AS warmup_steps,
    max(h.value_number) FILTER (h.name = 'epochs')             AS epochs,
    max(h.value_number) FILTER (h.name = 'steps')              AS steps,
    max(h.value_number) FILTER (h.name = 'dropout')            AS dropout,
    max(h.value_number) FILTER (h.name = 'label_smoothing')    AS label_smoothing,
    max(h.value_number) FILTER (h.name = 'mixup')              AS mixup,
    max(h.value_text)   FILTER (h.name = 'augmentation')       AS augmentation,
    max(h.value_number) FILTER (h.name = 'gradient_clip_norm') AS gradient_clip_norm,
    max(h.value_number) FILTER (h.name = 'depth')              AS depth,
    max(h.value_number) FILTER (h.name = 'width')              AS width,
    max(h.value_text)   FILTER (h.name = 'normalization')      AS normalization,
    max(h.value_text)   FILTER (h.name = 'residual')           AS residual,
    max(h.value_text)   FILTER (h.name = 'activation')         AS activation,
    max(h.value_text)   FILTER (h.name = 'initialization')     AS initialization,
    max(h.value_text)   FILTER (h.name = 'precision')          AS precision,
    max(h.value_text)   FILTER (h.name = 'model')              AS model,
    max(h.value_number) FILTER (h.name = 'parameter_count')    AS parameter_count
FROM runs r LEFT JOIN hyperparameters h USING (run_id)
WHERE r.task_id IS NOT NULL AND (r.infeasible OR r.objective_min IS NOT NULL)
GROUP BY ALL;
