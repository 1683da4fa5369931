"""System identification: the parameters of a MuJoCo model from recorded motion, with standard errors."""

from diffmaac.identification.found import Identification as Identification
from diffmaac.identification.identify import identify as identify
from diffmaac.identification.trajectory import Trajectory as Trajectory
