"""The callbacks for Transformers and Lightning, in real trainings on the CPU, with a real Mosquitto."""

import asyncio
import warnings

import pytest

from tests.integration.gatekeeper import gatekeeper
from tests.integration.trainings import need
from tests.servers import mosquitto
from thermogate.schedulers.trainer import Gate

need("torch", "transformers", "lightning", "accelerate")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("default"),  # those of the frameworks are not ours to mend
]

JOB = ("job", "train-7")


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path) as url:
        yield url


@pytest.fixture
async def keeper(broker, tmp_path):
    async with gatekeeper(broker, tmp_path) as keeper:
        yield keeper


@pytest.fixture
async def gate(broker, tmp_path, keeper):
    gate = Gate("job/train-7", broker=broker, trust_file=tmp_path / "trusted", report_every_s=0.0)
    await asyncio.to_thread(gate.open)
    yield gate
    await asyncio.to_thread(gate.close)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


async def held_in_between(keeper, training, losses, exists):
    """Hold a training once it reports, see that a checkpoint is there and nothing goes on, and release it."""
    report = await keeper.heard(lambda said: hasattr(said, "metrics") and said.step >= 3)
    await keeper.say(JOB, "HOLD")
    await keeper.heard(lambda said: getattr(said, "outcome", "") == "done")
    assert exists()
    counted = len(losses)
    await asyncio.sleep(0.3)
    assert len(losses) == counted
    assert not training.done()
    await keeper.say(JOB, "RUN")
    await asyncio.wait_for(training, 60)
    return report


async def test_a_transformers_trainer_saves_waits_and_learns_the_same(gate, keeper, tmp_path):
    from tests.integration.frameworks import train_transformers

    plain = await asyncio.to_thread(train_transformers, tmp_path / "plain", None)
    losses: list[float] = []
    training = asyncio.create_task(asyncio.to_thread(train_transformers, tmp_path / "held", gate, losses))
    report = await held_in_between(keeper, training, losses, lambda: saved_steps(tmp_path / "held"))
    assert {"loss", "grad_norm", "throughput_per_s"} <= report.metrics.keys()
    assert losses == plain
    (step,) = saved_steps(tmp_path / "held")
    assert await asyncio.to_thread(train_transformers, tmp_path / "held", None, [], True) == plain[step:]


def saved_steps(folder):
    return [int(file.parent.name.removeprefix("checkpoint-")) for file in folder.glob("*/optimizer.pt")]


async def test_a_lightning_trainer_saves_waits_and_learns_the_same(gate, keeper, tmp_path):
    from tests.integration.frameworks import train_lightning

    plain = await asyncio.to_thread(train_lightning, tmp_path, None)
    losses: list[float] = []
    training = asyncio.create_task(asyncio.to_thread(train_lightning, tmp_path, gate, losses))
    file = tmp_path / "thermogate-hold.ckpt"
    report = await held_in_between(keeper, training, losses, file.exists)
    assert {"loss", "grad_norm", "steps_per_s"} <= report.metrics.keys()
    assert losses == plain
    resumed = await asyncio.to_thread(train_lightning, tmp_path, None, [], file)
    assert resumed == plain[len(plain) - len(resumed) :]
    assert 0 < len(resumed) < len(plain)
