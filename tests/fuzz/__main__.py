"""``python -m tests.fuzz``: see templates.py."""

import sys

from .templates import main

sys.exit(main())
