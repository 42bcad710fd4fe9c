"""Documents made from the table of parameters: /openapi.json and the reference in README.md."""

import json
import subprocess

import servers


def test_readme_table_is_current():
    printed = subprocess.run([servers.FAKE_BIN, "--print-parameters"], capture_output=True, text=True,
                             check=True).stdout
    readme = (servers.ROOT / "README.md").read_text()
    kept = readme.split("<!-- parameters: begin -->\n")[1].split("<!-- parameters: end -->")[0]
    assert kept == printed, "README.md is behind the table: run make parameters"


def test_openapi(fake):
    status, head, document = fake.request("GET", "/openapi.json")
    document = json.loads(document)
    assert status == 200 and document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {"/v1/chat/completions", "/v1/completions", "/tokenize"}
    chat = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"][
        "application/json"]["schema"]["properties"]
    assert chat["temperature"]["maximum"] == 2 and chat["temperature"]["default"] == 0.8
    assert chat["repetition_penalty"]["exclusiveMinimum"] == 0
    assert chat["mirostat"] == {**chat["mirostat"], "enum": [0, None], "x-status": "refused"}
    assert all(p["description"] for p in chat.values())


def test_a_default_of_the_document_is_what_happens(fake):
    """Sending every number's default changes nothing; each value of a refused field is accepted."""
    document = json.loads(fake.request("GET", "/openapi.json")[2])
    for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "x [[tokens=1]]"}]}),
                       ("/v1/completions", {"prompt": "x [[tokens=1]]"})):
        schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        defaults = {k: p["default"] for k, p in schema["properties"].items() if "default" in p}
        assert len(defaults) > 15
        assert fake.post(path, {**body, **defaults})[0] == 200
        for name, p in schema["properties"].items():
            for value in p.get("enum", []):
                assert fake.post(path, {**body, name: value})[0] == 200, (name, value)
