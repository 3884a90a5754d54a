"""Points the Hub library's Inference Endpoints calls at this installation.

Python imports a module of this name from PYTHONPATH before any program starts. The library has no setting for the
address of the endpoints API, only two constants, so they are replaced at the moment the library's `constants` module is
loaded: before anything can have copied them, and at no cost to programs that never load it. Does nothing unless
ENDPOINTS_API_URL is set.
"""

import os
import sys


def _point_hub_library_at(base):
    from importlib.machinery import PathFinder

    target = "huggingface_hub.constants"
    names = ("INFERENCE_ENDPOINTS_ENDPOINT", "INFERENCE_CATALOG_ENDPOINT")
    base = base.rstrip("/")

    class Finder:
        """Finds one module, the way Python would, and adds a step after it has run."""

        @staticmethod
        def find_spec(name, path=None, module=None):
            if name != target:
                return None
            spec = PathFinder.find_spec(name, path, module)
            if spec is None or spec.loader is None:
                return spec
            run = spec.loader.exec_module

            def exec_module(constants):
                from urllib.parse import urlsplit

                run(constants)
                for constant in names:
                    # Only the host moves: the path differs between versions of the library.
                    address = getattr(constants, constant, None)
                    if isinstance(address, str):
                        setattr(constants, constant, base + urlsplit(address).path)

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, Finder)


def _run_the_sitecustomize_this_one_hides():
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    here = os.path.realpath(os.path.dirname(__file__))
    others = [path for path in sys.path if os.path.realpath(path or ".") != here]
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if os.environ.get("ENDPOINTS_API_URL"):
    _point_hub_library_at(os.environ["ENDPOINTS_API_URL"])

_run_the_sitecustomize_this_one_hides()
