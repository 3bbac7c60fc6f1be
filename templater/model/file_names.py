"""Names of the files and directories in images, instance directories and backups."""

METADATA = "metadata.yaml"
TEMPLATES = "templates"
ROOTFS = "rootfs"
#: the author's tests, which no image contains
TESTS = "tests"
#: the author's settings for checks, which no image contains
SETTINGS = "templater.toml"
#: the disk of a virtual machine
DISK = "rootfs.img"

#: the description of the instance in an instance directory
INSTANCE = "instance.yaml"
#: the description of the instance in a backup, and in the daemons' own instance directories
BACKUP_YAML = "backup.yaml"

#: templater's own directory beside the root filesystem, and in a streams tree
STATE_FOLDER = ".templater"
#: the file in ``STATE_FOLDER`` that records the pending trigger
STATE = "state"
#: the file in ``STATE_FOLDER`` that records the files that templater has written
WRITTEN = "written"
