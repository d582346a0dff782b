"""Python imports this at its start where PYTHONPATH names this folder: so a process of ours becomes slow on demand."""

import os

from tests.system.drill import slow_gateway, slow_service

if (drilled := os.environ["DRILLED"]) == "gateway":
    slow_gateway.slow_down()
else:
    slow_service.slow_down(drilled)
