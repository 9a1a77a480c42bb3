"""What somebody who has read the README gets wrong first, and what the lab answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.experiment import Cell
from experiments.plan import make_plan
from experiments.results import Results
from experiments.runner import StoppedError, execute, serially
from experiments.subjects import Emulated
from tests.experiments.emulated_devices import device


def test_a_name_that_is_like_no_other_gets_the_list_and_no_guesses(lab) -> None:
    said = lab("run", "zzz", code=2).stderr
    assert said == "asiclab: there is no experiment 'zzz'. See: asiclab experiments list\n"
    assert "did you mean poisson?" in lab("experiments", "show", "poison", code=2).stderr


@pytest.mark.parametrize(
    "command", [("run", "poisson", "--size", "fast"), ("emulate", "s9", "--shares", "5")]
)
def test_a_seed_that_no_database_can_keep_is_refused(lab, command: tuple[str, ...]) -> None:
    assert "--seed" in lab(*command, "--seed", 2**63, code=2).stderr
    assert not (lab.folder / "lab.db").exists()


def test_a_folder_that_cannot_be_written_is_told_before_the_first_cell(lab) -> None:
    (lab.folder / "taken").write_text("a file")
    said = lab("run", "poisson", "--size", "fast", "--out", "taken", code=2).stderr
    assert "taken/poisson cannot be written" in said
    assert "give another --out" in said
    assert not (lab.folder / "lab.db").exists()


def test_resume_says_where_there_is_nothing_to_go_on_with(lab) -> None:
    run = ("run", "poisson", "--size", "fast", "--seed", "3", "--jobs", "1")
    assert "all are measured" in lab(*run, "--resume").stderr
    assert "all are measured" in lab(*run, "--resume").stderr  # a run that is finished is not gone on with
    assert "all are measured" not in lab(*run).stderr

    def half(name: str, subject: Emulated, cells: list[Cell]):
        for done in serially(name, subject, cells):
            results.ask_to_stop(begun[0])
            yield done

    from experiments.catalogue import get_experiment

    begun: list[str] = []
    plan = make_plan(get_experiment("poisson"), Emulated(), size="fast", seed=3)
    with Results(f"sqlite:///{lab.folder}/lab.db") as results, pytest.raises(StoppedError):
        execute(get_experiment("poisson"), Emulated(), plan, results, executor=half,
                on_begin=lambda run_id, done: begun.append(run_id))  # fmt: skip
    result = lab(*run, "--resume")
    assert "all are measured" not in result.stderr
    assert "2 cells, 1 of them there already" in result.stdout


def test_a_database_with_experiments_alone_says_where_they_are(lab) -> None:
    lab("run", "poisson", "--size", "fast", "--jobs", "1", "--plant", "quality=1")
    assert "runs of experiments: asiclab experiments runs" in lab("runs").stdout
    assert "asiclab experiments runs" in lab("stats", code=2).stderr
    assert "emulated s9, planted quality = 1" in " ".join(lab("experiments", "runs").stdout.split())


def test_a_planted_effect_settles_no_claim(lab) -> None:
    run = ("run", "heartbeat", "--size", "fast", "--jobs", "1")
    assert "say nothing of the claims" in lab(*run, "--plant", "swing=0.4").stdout
    assert "say nothing of the claims" not in lab(*run).stdout


def test_a_status_that_no_claim_has_is_named_with_those_that_there_are(lab) -> None:
    said = lab("claims", "--status", "nonsense", code=2).stderr
    assert "'nonsense'" in said
    assert "not run yet" in said
    assert all(
        row["status"] == "not run yet" for row in _rows(lab("claims", "--status", "not run", "--json"))
    )


def _rows(result) -> list[dict]:
    import json

    return [json.loads(line) for line in result.stdout.splitlines()]


def test_what_would_be_done_is_told_without_an_agreement_to_do_it(lab) -> None:
    with device("lv06") as miner:
        before = miner.pool()
        told = lab("run", "share-rate", "--size", "fast", "--device", miner.url, "--dry-run").stdout
        refused = lab("run", "share-rate", "--size", "fast", "--device", miner.url, code=2).stderr
        assert miner.pool() == before
    assert f"2 cells on {miner.url}" in told
    assert "agree with --yes" in refused


def test_a_device_that_is_asked_who_it_is_is_planned_for_as_what_it_says(lab) -> None:
    with device("lv06", bind="127.0.0.233") as miner:
        url = miner.url.replace("lv06://", "http://")
        (plan,) = _rows(lab("run", "poisson", "--size", "fast", "--device", url, "--dry-run", "--json"))
    assert (plan["subject"]["model"], plan["subject"]["device"]) == ("lv06", miner.url)


def test_one_cell_is_one_cell(lab) -> None:
    with device("lv06") as miner:
        told = lab("run", "poisson", "--size", "fast", "--device", miner.url, "--dry-run").stdout
    assert told.startswith(f"poisson: 1 cell on {miner.url}, about ")


def test_an_address_that_is_none_is_told_before_anything_else(lab) -> None:
    assert (
        "'nonsense' is no address of a miner" in lab("run", "poisson", "--device", "nonsense", code=2).stderr
    )
    said = lab("run", "puf", "--device", "bm1366:/dev/ttyUSB0", "--dry-run", code=2).stderr
    assert said.startswith("asiclab: puf: devices are compared with each other")


def test_nobody_at_an_address_is_told_with_how_to_find_miners(lab) -> None:
    for url in ("lv06://127.0.0.231:1", "s9://127.0.0.231:1", "http://127.0.0.231:1"):
        said = lab("devices", "show", url, code=1).stderr
        assert "asiclab devices scan --subnet" in said
        assert len(said.splitlines()) == 1


def test_facts_of_a_device_that_does_not_answer_are_no_success(lab) -> None:
    said = lab("devices", "test", "lv06://127.0.0.1:1", code=1).stderr
    assert "nothing of the table was seen" in said
    assert (lab.folder / "lv06-facts.json").exists()


def test_a_bridge_says_once_that_a_device_does_not_answer(lab) -> None:
    options = ("--port", "0", "--seconds", "1.5", "--device-period", "0.2")
    said = lab("bridge", "--device", "lv06://127.0.0.231:1", *options).stderr
    assert said.startswith("asiclab: lv06://127.0.0.231:1 does not answer, so its telemetry is missing")
    assert len(said.splitlines()) == 1


def test_devices_restore_goes_on_with_the_others_and_keeps_what_does_not_answer(
    lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from firmware_bridge.devices.journal import OwnPool, PoolJournal

    monkeypatch.setenv("ASICLAB_STATE", str(lab.folder / "state"))
    with device("lv06", bind="127.0.0.233") as miner:
        own = miner.pool()
        journal = PoolJournal()
        journal.keep("lv06://127.0.0.1:1", OwnPool("10.0.0.1", 3333, "w", "stratum+tcp://127.0.0.1:3333"))
        journal.keep(miner.url, OwnPool("10.0.0.1", 3333, "w", "stratum+tcp://127.0.0.1:3333"))
        result = lab("devices", "restore", code=1)
        assert miner.pool() == own
    assert "asiclab: lv06://127.0.0.1:1: " in result.stderr
    assert "it stays remembered" in result.stderr
    assert f"{miner.url}: somebody has set its pool since, to stratum+tcp://{own[0]}:{own[1]}" in " ".join(
        result.stdout.split()
    )
    assert PoolJournal().addresses() == ["lv06://127.0.0.1:1"]


def test_an_emulated_miner_without_a_pool_says_so(lab) -> None:
    said = lab("emulate", "lv06", "--pool", "127.0.0.1:1", "--seconds", "0.5", code=1).stderr
    assert "no pool let it mine at 127.0.0.1:1" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("s9", "--fault", "nonsense"), "--fault nonsense: an emulated s9 has ambient_step_c, defects"),
        (("lv06", "--fault", "cipher"), "--fault cipher: an emulated lv06 has"),
        (("s9", "--firmware", "2.15.0"), "--firmware is the era of an lv06's"),
    ],
)
def test_a_fault_that_a_model_does_not_have_is_no_fault(lab, options: tuple[str, ...], says: str) -> None:
    assert says in lab("emulate", *options, "--http-port", "0", "--seconds", "0.1", code=2).stderr


def test_findings_can_be_read_where_nothing_can_be_written(lab) -> None:
    lab("run", "poisson", "--size", "fast", "--jobs", "1")
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    closed = Path(lab.folder) / "closed"
    closed.mkdir()
    (lab.folder / "lab.db").rename(closed / "lab.db")
    closed.chmod(0o500)
    try:
        assert "no_evidence" in lab("experiments", "runs", "--db", "closed/lab.db").stdout
        assert (
            "disk is not full"
            in lab("run", "poisson", "--size", "fast", "--db", "closed/lab.db", code=1).stderr
        )
    finally:
        closed.chmod(0o700)


def test_who_reads_results_cannot_write_them(lab) -> None:
    from sqlalchemy.exc import OperationalError

    from firmware_bridge.trace.store import locate, reading_engine

    lab("run", "poisson", "--size", "fast", "--jobs", "1")
    engine = reading_engine(locate(f"sqlite:///{lab.folder}/lab.db"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM experiment_runs").scalar() == 1
        with pytest.raises(OperationalError, match="readonly"):
            connection.exec_driver_sql("DELETE FROM experiment_runs")
    engine.dispose()
