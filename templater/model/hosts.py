"""The supported LXD and Incus releases, and the settings in which they differ."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

FILE_TAGS = frozenset(("extends", "import", "include", "ssi"))


class Host:
    """The behaviour of one or more LXD or Incus releases with an image's templates.

    * ``name``: the value of the option ``--as``
    * ``title``: a list of the releases
    * ``family``: a group of releases that access files with the same code, or "" for ``none``
    * ``product``: ``incus``, ``lxd``, or "" for ``none``
    * ``dialect``: a name from ``pongo2.dialect``
    * ``yaml``: the major version of Go's YAML library
    * ``metadata_limit``: the maximum size of metadata.yaml at a start, in bytes, or 0 for unlimited
    * ``banned``: tags that the release rejects. The other tags of FILE_TAGS read files on that release, but
      never in templater.
    * ``permissions``: whether the release applies a rule's uid, gid and mode
    * ``recovers_panics``: whether a panic in a template becomes an error. Otherwise, a panic crashes the
      daemon.
    * ``links_refused_at``: the step that rejects a symlink among the templates (``create`` or ``start``), or
      "" if the release follows the symlink
    * ``check_prefix``: whether the error of a failed check begins with the rule's path
    * ``render_prefix``: the text before the error of a failed render
    * ``vm_keeps_pending``: whether a virtual machine's trigger stays pending after a failed start
    * ``vm_output``: a group of releases that write the config drive with the same code
    * ``agent``: the variant of the guest's agent: ``incus``, ``lxd`` or ``lxd-6.8``
    * ``nested_last``: whether ``devices.Sorted`` lists nested network interfaces last
    * ``pongo2_version``: the value of ``pongo2.version``, or "" for the version of the dialect
    """

    __slots__ = (
        "agent", "banned", "check_prefix", "dialect", "family", "links_refused_at", "metadata_limit", "name",
        "nested_last", "permissions", "pongo2_version", "product", "recovers_panics", "render_prefix",
        "title", "vm_keeps_pending", "vm_output", "yaml",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        title: str,
        *,
        family: str,
        product: str,
        dialect: str = "v4",
        yaml: "Literal['v2', 'v4']" = "v2",
        metadata_limit: int = 0,
        banned: "frozenset[str]" = FILE_TAGS,
        permissions: bool = True,
        recovers_panics: bool = False,
        links_refused_at: str = "start",
        check_prefix: bool = False,
        render_prefix: str = "Failed to render template: ",
        vm_keeps_pending: bool = False,
        vm_output: str = "plain",
        agent: str = "incus",
        nested_last: bool = True,
        pongo2_version: str = "",
    ) -> None:
        self.name = name
        self.title = title
        self.family = family
        self.product = product
        self.dialect = dialect
        self.yaml: Literal["v2", "v4"] = yaml
        self.metadata_limit = metadata_limit
        self.banned = banned
        self.permissions = permissions
        self.recovers_panics = recovers_panics
        self.links_refused_at = links_refused_at
        self.check_prefix = check_prefix
        self.render_prefix = render_prefix
        self.vm_keeps_pending = vm_keeps_pending
        self.vm_output = vm_output
        self.agent = agent
        self.nested_last = nested_last
        self.pongo2_version = pongo2_version

    def __repr__(self) -> str:
        return f"Host({self.name!r})"


NONE = Host("none", "templater's own behaviour only", family="", product="", dialect="v6")

INCUS = Host(
    "incus",
    "Incus 7.0.1 to 7.3",
    family="I73",
    product="incus",
    dialect="v6.1",
    yaml="v4",
    links_refused_at="create",
    vm_keeps_pending=True,
    vm_output="checked",
)

INCUS_6_0 = Host(
    "incus-6.0",
    "Incus 6.0.6 LTS, 6.21 and 6.22",
    family="I606",
    product="incus",
    dialect="v6",
    banned=frozenset(),
    vm_keeps_pending=True,
)

INCUS_DEBIAN = Host(
    "incus-debian",
    "Incus 6.0.4 of Debian 13 (6.0.4-2+deb13u12)",
    family="I606",
    product="incus",
    dialect="v4",
    links_refused_at="create",
)

LXD = Host(
    "lxd",
    "LXD 6.9, 5.21.5 and later 5.21 releases, 5.0.7 and later 5.0 releases",
    family="LHEAD",
    product="lxd",
    metadata_limit=1 << 20,
    permissions=False,
    recovers_panics=True,
    render_prefix="Failed rendering template: ",
    vm_output="confined",
    agent="lxd-6.8",
    pongo2_version="dev",
)

LXD_DEBIAN = Host(
    "lxd-debian",
    "LXD 5.0.2 of Debian 13 (deb13u7)",
    family="L506",
    product="lxd",
    permissions=False,
    agent="lxd",
    nested_last=False,
)

LXD_6_7 = Host(
    "lxd-6.7",
    "LXD 6.7 and 5.0.6",
    family="L506",
    product="lxd",
    banned=frozenset(),
    permissions=False,
    check_prefix=True,
    agent="lxd",
    pongo2_version="dev",
)

INCUS_6_0_4 = Host(
    "incus-6.0.4",
    "Incus 6.0.4 without Debian's changes, and 6.10 to 6.20",
    family="I604",
    product="incus",
    dialect="v6",
    banned=frozenset(),
    links_refused_at="",
)

LXD_5_21_4 = Host(
    "lxd-5.21.4",
    "LXD 5.0.5, 5.21.4, and 6.0 to 6.6",
    family="L505",
    product="lxd",
    banned=frozenset(),
    permissions=False,
    links_refused_at="",
    agent="lxd",
    pongo2_version="dev",
)

HOSTS: "Mapping[str, Host]" = {
    host.name: host
    for host in (INCUS, INCUS_6_0, INCUS_DEBIAN, LXD, LXD_6_7, LXD_DEBIAN, INCUS_6_0_4, LXD_5_21_4, NONE)
}
"""The hosts that `plan` can predict. The keys are the names that `--as` accepts."""
