"""The adapter of the Cloud API, the send path's client under it, and an authority it may trust."""

import pytest

from campaign_engine.providers.cloud_api.adapter import CloudApi
from campaign_engine.providers.direct import DirectHttp
from tests.campaign_engine.providers.authority import Authority, private_authority


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave what this machine's environment says of proxies and certificates out of it."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@pytest.fixture
def api() -> CloudApi:
    return CloudApi(version="v26.0", timeout_s=60)


@pytest.fixture
def client() -> DirectHttp:
    return DirectHttp(connect_timeout_s=60, timeout_s=60)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return private_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """The authority, trusted by this process: the way an operator trusts that of a company's own proxy."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.path))
    return authority
