"""One file a command: `preview.py` is `templater preview`, `image/info.py` is `templater image info`."""
