"""The certificates and ciphers of a TLS connection."""

import pytest

from templater.distribution.tls_trust import Trust
from templater.model.errors import InputError


@pytest.mark.parametrize(
    ("trust", "name"),
    [
        (Trust(server="server.crt", client=("client.crt", "client.key")), "server.crt"),
        (Trust(client=("client.crt", "client.key")), "client.crt"),
    ],
)
def test_the_error_contains_the_path_of_a_missing_certificate_file(trust, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        trust.context()
    assert str(error.value) == f"can't read the certificate '{name}': no such file or directory"


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_server_cannot_choose_diffie_hellman_parameters(is_pinned, certificates):
    """Parameters of 10,000 bits needed a second of processor time for each connection."""
    trust = Trust(server=str(certificates / "ca.pem") if is_pinned else "")
    names = [cipher["name"] for cipher in trust.context().get_ciphers()]
    assert names and all(name.startswith(("TLS_", "ECDHE-")) for name in names)
