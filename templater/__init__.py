"""See, test and safely apply the files that an LXD/Incus image's templates will write."""

__version__ = "0.1.0"
