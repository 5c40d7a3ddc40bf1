"""What a finished run's adapters do, measured: routing, spectra, alignment, conflicts."""

from .diagnosis import Diagnosis, diagnose
from .write import write_diagnosis

__all__ = ["Diagnosis", "diagnose", "write_diagnosis"]
