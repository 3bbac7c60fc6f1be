"""The validators, one file each."""
