"""The commands: `preview.py` is `templater preview`, `image/info.py` is `templater image info`."""
