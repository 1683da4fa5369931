"""Gymnasium environments that others made, as tasks: made, checked, scaled, stepped and taken up again."""

from diffmaac.foreign.env import ForeignEnv as ForeignEnv
from diffmaac.foreign.given import check_given as check_given
from diffmaac.foreign.given import in_own_units as in_own_units
from diffmaac.foreign.making import Source as Source
from diffmaac.foreign.system import GymnasiumSystem as GymnasiumSystem
