"""What the training process runs with: versions, flags that change results or speed, threads, and its scheduler."""

from __future__ import annotations

import os
import sys

from .process import is_ray_worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Mapping

_PACKAGES = (
    "numpy", "torchvision", "torchaudio", "torchtext", "torchmetrics", "torch_geometric", "torchdata", "lightning",
    "pytorch_lightning", "transformers", "datasets", "tokenizers", "accelerate", "peft", "trl", "diffusers", "timm",
    "deepspeed", "bitsandbytes", "flash_attn", "xformers", "apex", "triton", "ignite", "fastai", "monai", "kornia",
    "albumentations", "cv2", "PIL", "scipy", "sklearn", "pandas", "hydra", "omegaconf", "wandb", "tensorboard",
    "mlflow", "ray", "einops", "sentence_transformers", "jax", "horovod", "webdataset", "safetensors",
)  # fmt: skip
_DISTRIBUTIONS = {"PIL": "pillow", "cv2": "opencv-python", "sklearn": "scikit-learn", "hydra": "hydra-core"}
_SCHEDULERS = {  # variables of schedulers and launchers, and what their tags are called; no names of hosts
    "SLURM_JOB_ID": "slurm.job_id",
    "SLURM_JOB_PARTITION": "slurm.partition",
    "SLURM_CLUSTER_NAME": "slurm.cluster",
    "SLURM_ARRAY_JOB_ID": "slurm.array_job_id",
    "SLURM_ARRAY_TASK_ID": "slurm.array_task_id",
    "SLURM_NNODES": "slurm.nodes",
    "SLURM_NTASKS": "slurm.tasks",
    "SLURM_RESTART_COUNT": "slurm.restarts",
    "POD_NAME": "kubernetes.pod",
    "POD_NAMESPACE": "kubernetes.namespace",
    "TORCHELASTIC_RUN_ID": "torchelastic.run_id",
    "TORCHELASTIC_RESTART_COUNT": "torchelastic.restarts",
    "RAY_JOB_ID": "ray.job_id",
    "PBS_JOBID": "pbs.job_id",
    "LSB_JOBID": "lsf.job_id",
    "KUBERNETES_SERVICE_HOST": "",  # only says that there is Kubernetes
}


def of_process(torch: Any) -> dict[str, str]:
    """Returns tags `hpkb.env.*` and, where the job uses CUDA already, `hpkb.hw.gpu.*`; initialises nothing."""
    found = {"hpkb.env.python": ".".join(map(str, sys.version_info[:3])), "hpkb.env.torch": str(torch.__version__)}
    found.update(_versions())
    found.update(of_scheduler(os.environ))
    if not is_ray_worker():  # Ray's own script and arguments, which say nothing of the training
        found.update(entry())
    for name, read in _flags(torch).items():
        try:
            found[f"hpkb.env.{name}"] = _word(read())
        except Exception:  # an older torch, or flags that contradict each other
            continue
    if "OMP_NUM_THREADS" in os.environ:
        found["hpkb.env.omp_num_threads"] = os.environ["OMP_NUM_THREADS"][:20]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found.update(_cuda(torch))
    return found


def of_scheduler(environ: Mapping[str, str]) -> dict[str, str]:
    """Returns tags `hpkb.env.slurm.*`, `.kubernetes.*` and so on: which job of which scheduler this is."""
    found = {f"hpkb.env.{tag}": environ[name] for name, tag in _SCHEDULERS.items() if tag and environ.get(name)}
    if environ.get("KUBERNETES_SERVICE_HOST") and environ.get("HOSTNAME"):
        found.setdefault("hpkb.env.kubernetes.pod", environ["HOSTNAME"])  # as Kubernetes names its containers
    return found


def entry() -> dict[str, str]:
    """Returns tags `hpkb.code.script` and `hpkb.code.arguments` of the main program, without secrets."""
    from .redact import command

    main = sys.modules.get("__main__")
    spec, path = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    found = {"arguments": " ".join(map(_quoted, command(sys.argv[1:])))[:4000]}
    if spec is not None:
        found["script"] = f"-m {spec.name[: -len('.__main__')] if spec.name.endswith('.__main__') else spec.name}"
    elif path:
        inside = os.path.relpath(path)
        found["script"] = os.path.basename(path) if inside.startswith("..") else inside
    return {f"hpkb.code.{name}": text for name, text in found.items() if text}


def _quoted(argument: str) -> str:
    """Returns the argument as a shell takes it; `shlex` is slow to import."""
    plain = argument and all(c.isalnum() or c in "@%+=:,./-_*" for c in argument)
    return argument if plain else "'" + argument.replace("'", "'\"'\"'") + "'"


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        module = sys.modules.get(name)
        if module is not None:
            version = vars(module).get("__version__") or _version_installed(name)
            if isinstance(version, str):
                found[f"hpkb.env.{name}"] = version[:100]
    return found


def _version_installed(name: str) -> str | None:
    metadata = sys.modules.get("importlib.metadata")  # not worth its import
    try:
        return str(metadata.version(_DISTRIBUTIONS.get(name, name))) if metadata else None
    except Exception:
        return None


def _flags(torch: Any) -> dict[str, Callable[[], Any]]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return {
        "torch.threads": torch.get_num_threads,
        "torch.interop_threads": torch.get_num_interop_threads,
        "torch.deterministic": torch.are_deterministic_algorithms_enabled,
        "torch.cudnn.benchmark": lambda: cudnn.benchmark,
        "torch.cudnn.deterministic": lambda: cudnn.deterministic,
        "torch.cudnn.tf32": lambda: cudnn.allow_tf32,
        "torch.matmul.tf32": lambda: matmul.allow_tf32,
        "torch.matmul.precision": torch.get_float32_matmul_precision,
    }


def _cuda(torch: Any) -> dict[str, str]:
    count = torch.cuda.device_count()
    names = dict.fromkeys(torch.cuda.get_device_name(i) for i in range(count))
    found = {
        "hpkb.hw.gpu.name": ", ".join(names),
        "hpkb.hw.gpu.count": str(count),
        "hpkb.env.cuda": str(torch.version.cuda or torch.version.hip),
    }
    cudnn = torch.backends.cudnn.version()
    return {**found, "hpkb.env.cudnn": str(cudnn)} if cudnn else found


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
