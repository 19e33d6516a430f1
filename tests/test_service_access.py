"""Who may use the service: API keys, rates, and the origins of pages."""

import base64

import pytest

pytest.importorskip("fastapi", reason="the service needs the extra serve")

from tests.test_service import jpeg, problem, service, styles

__all__ = ["jpeg", "styles"]


def test_keys_are_required(styles, jpeg, tmp_path):
    keys = tmp_path / "keys"
    first, second = "a" * 16, "b" * 20
    keys.write_text(f"# ours\n\nalice:{first}\n")
    with service(keys=keys) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code in (200, 503)
        for path in ("/v1/styles", "/metrics"):
            assert client.get(path).headers["www-authenticate"] == "Bearer"
            problem(client.get(path), 401)
            for headers in ({"Authorization": f"Bearer {first}"}, {"X-API-Key": first}):
                assert client.get(path, headers=headers).status_code == 200
            for wrong in (second, first[:-1], first + "x", "é"):
                headers = {"Authorization": f"Bearer {wrong}".encode()}
                problem(client.get(path, headers=headers), 403)
            basic = base64.b64encode(b"alice:" + first.encode()).decode()
            problem(client.get(path, headers={"Authorization": f"Basic {basic}"}), 401)
        assert "bearer" in client.get("/openapi.json").json()["components"]["securitySchemes"]


def test_rate_is_limited_for_each_caller(styles):
    with service(rate=60, burst=3) as client:
        answers = [client.get("/v1/styles") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert problem(answers[3], 429)
        assert answers[3].headers["retry-after"] == "1"
        assert client.get("/healthz").status_code == client.get("/metrics").status_code == 200


def test_cors_allows_only_the_given_origins(styles):
    origin = {"Origin": "https://example.org"}
    with service() as client:
        assert "access-control-allow-origin" not in client.get("/healthz", headers=origin).headers
    with service(cors="https://example.org", rate=0.001, burst=1) as client:
        for _ in range(2):  # what is refused can be read, too
            answer = client.get("/v1/styles", headers=origin)
            assert answer.headers["access-control-allow-origin"] == "https://example.org"
        assert answer.status_code == 429
        other = client.get("/healthz", headers={"Origin": "https://example.com"})
        assert "access-control-allow-origin" not in other.headers
