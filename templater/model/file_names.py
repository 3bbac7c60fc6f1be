"""Names of the files and directories in images, instance directories and backups."""

METADATA = "metadata.yaml"
TEMPLATES = "templates"
ROOTFS = "rootfs"
#: the folder with the author's tests, which images do not contain
TESTS = "tests"
#: the file with the author's settings for checks, which images do not contain
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
#: the file in ``STATE_FOLDER`` that records all written files
WRITTEN = "written"
#: the file in ``STATE_FOLDER`` with the time of a failed first start. It exists if the container started in
#: spite of the failure. The file is empty, except in a copy of a container.
STARTED = "started"
#: the file in ``STATE_FOLDER`` that lists the temporary files of unfinished runs
JOURNAL = "journal"

#: the longest path in characters; the kernel allows as many bytes
MAX_PATH = 4095
