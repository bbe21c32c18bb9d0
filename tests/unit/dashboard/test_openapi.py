"""The OpenAPI document: every route and parameter is in it, and real answers are as it says."""

import inspect
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

from tests.fake_fleet import FakeFleet, decision
from tests.fakes import FakeClock
from tests.unit.dashboard.serving import serving
from tests.unit.dashboard.test_api import NOW, SESSION
from thermogate.core.clock import NS
from thermogate.core.decision import State
from thermogate.core.model import Event
from thermogate.dashboard import api, openapi
from thermogate.dashboard.routes import PREFIX, ROUTES

DOCUMENT = openapi.document()
ASKED = [
    "info",
    "fleet",
    "fleet?paged=true&limit=1",
    "nodes",
    "nodes?paged=true&limit=1",
    "series?node=gpu-01&device=gpu0&fields=temp_c,rle",
    "top?field=temp_c",
    "top?ranking=hottest&paged=true&limit=1",
    "events",
    "events?paged=true&limit=1",
    "jobs?limit=1",
    "gates",
    "decisions",
    "decisions?paged=true&limit=1",
    "explain?target=node/gpu-01",
    "openapi.json",
]


def check(schema, answer):
    """Raises when the answer is not as a schema of the document says."""
    Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer)


def schema_of(path, status=200):
    response = DOCUMENT["paths"][path]["get"]["responses"][str(status)]
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return response["content"]["application/json"]["schema"]


@pytest.fixture
async def client():
    fleet = FakeFleet([SESSION], nodes=2, gpus=2, now_ns=NOW)
    fleet.collapse_event("gpu-01", "0", NOW - 60 * NS)
    fleet.collapse_event("gpu-01", "1", NOW - 60 * NS)
    for number in "01":
        data = {"job": f"slurm:{number}", "manager": "slurm", "job_id": number, "user": "alice"}
        fleet.query.event_list.append(
            Event(
                node="gpu-01",
                event="job_began",
                time_ns=NOW - 100 * NS,
                text="",
                device_kind="gpu",
                device=number,
                data=data,
            )
        )
    fleet.query.decision_list = [
        decision("gpu-01", State.HOLD, "4 collapses", now_ns=NOW - NS, id_="A"),
        decision("gpu-02", State.REPAIR, "lost", now_ns=NOW - NS, id_="B"),
    ]
    async with serving(fleet.query, FakeClock(NOW)) as session:
        yield session


def test_every_route_of_the_server_is_in_the_document_and_no_other():
    handlers = inspect.getsource(api.Api.routes)
    served = {f"{PREFIX}/{name}" for name in re.findall(r'"([a-z.]+)": self', handlers)}
    assert set(DOCUMENT["paths"]) == set(ROUTES) == served | {f"{PREFIX}/stream"}


@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_the_server_knows_the_parameters_of_the_document_and_no_other(client, path):
    names = [parameter["name"] for parameter in DOCUMENT["paths"][path]["get"]["parameters"]]
    async with client.get(path, params={"nonsense": "1"}) as response:
        said = (await response.json())["error"]
    assert response.status == 400
    assert said == "nonsense: no such parameter: " + (
        f"expected one of {', '.join(names)}" if names else "this path takes none"
    )


@pytest.mark.parametrize("path", sorted(ROUTES))
async def test_every_default_is_a_value_that_is_taken(client, path):
    needed = {"node": "gpu-01", "device": "gpu0", "fields": "temp_c", "field": "temp_c", "target": "gpu-01"}
    given = {}
    for parameter in DOCUMENT["paths"][path]["get"]["parameters"]:
        if "default" in parameter["schema"]:
            check(parameter["schema"], parameter["schema"]["default"])
            given[parameter["name"]] = str(parameter["schema"]["default"]).replace("False", "false")
        elif parameter["name"] in needed:
            given[parameter["name"]] = needed[parameter["name"]]
    async with client.get(path, params={name: value.lower() for name, value in given.items()}) as response:
        assert response.status == 200, await response.text()


@pytest.mark.parametrize("asked", ASKED)
async def test_a_real_answer_is_as_the_document_says(client, asked):
    async with client.get(f"{PREFIX}/{asked}") as response:
        assert response.status == 200
        answer = await response.json()
    assert answer
    check(schema_of(f"{PREFIX}/{asked.partition('?')[0]}"), answer)


async def test_an_answer_that_is_not_as_the_document_says_would_be_seen(client):
    async with client.get(f"{PREFIX}/fleet") as response:
        answer = await response.json()
    answer[0]["state"] = "warm"
    with pytest.raises(ValidationError):
        check(schema_of(f"{PREFIX}/fleet"), answer)


async def test_an_error_is_as_the_document_says(client):
    async with client.get(f"{PREFIX}/events", params={"limit": "0"}) as response:
        check(schema_of(f"{PREFIX}/events", 400), await response.json())


def test_every_schema_is_one():
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_the_document_is_served_as_it_is_in_the_docs(client):
    async with client.get(f"{PREFIX}/openapi.json") as response:
        served = await response.json()
    written = yaml.safe_load((Path(__file__).parents[3] / "docs" / "openapi.yaml").read_text())
    assert served == written
