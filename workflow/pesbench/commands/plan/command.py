"""The plan of a run by hand: probes made one after another, a table, a proposal."""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pesbench.commands.plan import actual, tables
from pesbench.commands.plan.budget import cheapest_first, propose
from pesbench.commands.plan.contents import Facts, read_facts, scan_set_path, why_unknown
from pesbench.commands.plan.prediction import RELAX, predict
from pesbench.commands.plan.probe import LOAD_S, Probe, asked
from pesbench.commands.plan.probe_scans import write_probe_scans
from pesbench.core.errors import HostError, UserError, check_writable
from pesbench.core.interface import Status
from pesbench.core.text import csv_table
from pesbench.files import provenance
from pesbench.files.atomic import write_json, write_text
from pesbench.files.scan_set import ScanSet
from pesbench.files.validation import COMMAND_LINE
from pesbench.models.addresses import cache_path, is_address
from pesbench.models.fetching import settle
from pesbench.models.registry import ModelEntry
from pesbench.orchestration.config import Run, loading_options, resolve
from pesbench.orchestration.config_files import DEFAULT_CONFIG, Config
from pesbench.orchestration.requests import REFERENCE
from pesbench.orchestration.software import Software, software_of
from pesbench.references import bsct_spice

logger = logging.getLogger("pesbench")


# --- the run -------------------------------------------------------------------------------------


def write_scans(config: Config, out: Path) -> None:
    """Write the scans that the models of a run are timed on.

    Args:
        config: Config of the run.
        out: Scan set.

    Raises:
        UserError: the config is wrong, or the scan set is not there and needed.
    """
    run = resolve(config, Path.cwd())
    write_probe_scans(run, _facts(run, "snakemake scan_set --cores 1"), Path.cwd(), out)


def _facts(run: Run, command: str) -> dict[str, Facts]:
    if reason := why_unknown(run, command):
        raise UserError(reason)
    return read_facts(run, Path.cwd())


# --- probes --------------------------------------------------------------------------------------


def probed(run: Run) -> dict[str, ModelEntry]:
    """The entries that are timed: models, and the methods that the scan set is made with."""
    found = {name: entry for name, entry in run.models.items() if not entry.is_control}
    if run.source != bsct_spice.NAME:
        found[REFERENCE] = run.method("reference")
        if run.relax is not None:
            found[RELAX] = run.relax
    return found


def probe_path(run: Run, name: str) -> Path:
    """Path of the probe of a model."""
    return run.results / name / "probe.json"


def read_probe(path: Path) -> Probe:
    """A stored probe; one that is not there, or cannot be read, is a probe that says so."""
    try:
        return Probe.from_json(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Probe(Status.ERROR, f"not timed yet: no {path}")
    except Exception as error:  # any content: the plan says that it is no timing
        return Probe(Status.ERROR, f"{path} cannot be read ({type(error).__name__}: {error})")


def _why_no_environment(software: Software, entry: ModelEntry) -> str:
    """Reason why a model cannot run now; "" if it can."""
    try:
        software.check([entry])
        software.check_there([entry])
    except UserError as error:
        return str(error)
    if software.mode == "conda" and software.option(entry):
        return "its environment is Snakemake's: `snakemake plan` times it"
    missing = [path for path in software.stamps(entry) if not path.is_file()]
    return f"its environment is not built yet: no {missing[0]}; `snakemake plan`" if missing else ""


def _is_here(entry: ModelEntry) -> bool:
    weights = (entry.base or entry).settings.get("weights")
    return not is_address(weights) or cache_path(weights).is_file()


def make_probe(
    run: Run, name: str, entry: ModelEntry, scans: Path, *, network: bool, again: bool,
    seconds: float,
) -> Probe:  # fmt: skip
    """The probe of a model: read if it exists, else made.

    Args:
        run: What the run consists of.
        name: Name of the model, or `REFERENCE` or `RELAX`.
        entry: Entry of the registry.
        scans: Scans made by `write_probe_scans`.
        network: Whether weights may be downloaded.
        again: Whether to make it even if it is there.
        seconds: Longest time of a call.

    Returns:
        A probe without timings and with the reason, where something went wrong.
    """
    if not (network or _is_here(entry)):
        return Probe(
            Status.ERROR,
            f"its weights are not here; `python -m pesbench entry {entry.name} --models-file "
            f"{shlex.quote(str(run.models_file))} --out FILE` downloads them",
        )
    try:
        value = settle(entry)
    except (UserError, HostError) as error:
        return Probe(Status.ERROR, str(error))
    software = software_of(run)
    if reason := _why_no_environment(software, entry):
        return Probe(Status.ERROR, reason)
    path = probe_path(run, name)
    with ScanSet(scans) as scan_set:
        wanted = asked(
            ModelEntry(value["name"], value["family"], value["settings"]),
            scan_set.sha256, run.device, run.threads,
        )  # fmt: skip
    if not again and _asked_for(path) == json.loads(json.dumps(wanted)):
        logger.info("%s: timed before, %s", name, path)
        return read_probe(path)
    entry_path = path.with_name("probe_entry.json")
    write_json(entry_path, value)
    try:
        return _run_probe(
            run, name, entry, software.option(entry), entry_path, scans, path, seconds
        )
    finally:
        entry_path.unlink()


def _asked_for(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["asked"]
    except Exception:  # whatever stands there: it is timed again
        return None


def _run_probe(
    run: Run, name: str, entry: ModelEntry, where: Sequence[str], entry_path: Path, scans: Path,
    out: Path, seconds: float,
) -> Probe:  # fmt: skip
    """Run the command of the rule `probe`."""
    log = run.results / "logs" / "probe" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "pesbench", "probe",
        "--entry", str(entry_path), *loading_options(entry), *where,
        "--scan-set", str(scans), "--device", run.device, "--threads", str(run.threads),
        "--seconds", str(seconds), "--out", str(out),
    ]  # fmt: skip
    out.unlink(missing_ok=True)
    limit_s = LOAD_S + 4 * seconds
    try:
        with log.open("wb") as file:
            done = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=file, check=False, timeout=limit_s
            )
    except subprocess.TimeoutExpired:
        return Probe(Status.TIMEOUT, f"no end after {limit_s:g} s; see {log}")
    except OSError as error:
        return Probe(Status.ERROR, f"{command[0]} cannot be started ({error.strerror})")
    if done.returncode:
        text = log.read_text(encoding="utf-8", errors="replace")
        said = [line for line in text.splitlines() if line.strip()]
        last = said[-1].removeprefix("pesbench: error: ") if said else "no message"
        return Probe(Status.ERROR, f"{last} (exit code {done.returncode}, {log})")
    return read_probe(out)


# --- the plan ------------------------------------------------------------------------------------


def plan(
    config: Config, files: Sequence[Path], out: Path | None, *, budget_hours: float | None,
    probe: bool, network: bool, again: bool, seconds: float, cores: int,
) -> str:  # fmt: skip
    """Price a run, and write the table as CSV and, beside it, as Markdown.

    Args:
        config: Config of the run.
        files: User's configs from which it was read.
        out: CSV; None for `plan.csv` in the folder of the results.
        budget_hours: Propose what fits so many; None for no proposal.
        probe: Whether to time models; if not, only the probes that are there are read.
        network: Whether weights may be downloaded.
        again: Whether to time models that were timed before.
        seconds: Longest time of a model's call in a probe.
        cores: Cores of the machine that would run everything.

    Returns:
        The table for readers, with what follows from it.

    Raises:
        UserError: the config is wrong, or the scan set is not there and needed.
    """
    run = resolve(config, Path.cwd())
    names = [shlex.quote(str(path)) for path in files]
    check_writable(run.results)  # before models are timed
    option = f" --configfile {' '.join(names)}" if names else ""
    facts = _facts(run, f"snakemake scan_set --cores 1{option}")
    entries = probed(run)
    if probe:
        scans = run.results / "probe_scans.h5"
        write_probe_scans(run, facts, Path.cwd(), scans)
        probes = {}
        for number, (name, entry) in enumerate(entries.items(), start=1):
            logger.info("%d of %d: %s", number, len(entries), name)
            probes[name] = make_probe(
                run, name, entry, scans, network=network, again=again, seconds=seconds
            )
            if not probes[name].timings:
                logger.warning("%s: %s: %s", name, probes[name].status, probes[name].message)
    else:
        probes = {name: read_probe(probe_path(run, name)) for name in entries}
    predictions = predict(run, facts, probes)
    built = scan_set_path(run).is_file()
    out = run.results / "plan.csv" if out is None else out
    write_text(out, csv_table(tables.frame(predictions)))
    lines = [*tables.totals(run, predictions, built, cores), *tables.timed_when(predictions)]
    if budget_hours is not None:
        proposal = propose(run, facts, probes, budget_hours, built=built)
        instead = cheapest_first(run, predictions, budget_hours, built=built)
        lines += tables.proposal_text(run, predictions, proposal, budget_hours, instead, built)
        if proposal is not None and not proposal.whole:
            snippet = out.with_name(f"{out.stem}_budget.yaml")
            tables.write_overlay(run, proposal, snippet, budget_hours, config.layer(COMMAND_LINE))
            first = option or f" --configfile {DEFAULT_CONFIG}"
            last = shlex.quote(str(snippet))
            lines.append(f"To run it: {tables.run_command(proposal, f'{first} {last}')}")
    head = f"# {run.scan_set}: what a run takes"
    made = [
        f"Made {how['created']} by `{' '.join(how['command'][:4])}`, commit {how['git_commit']}."
        for how in [provenance.collect()]
    ]
    text = [tables.table(run, predictions), "", *(f"- {line}" for line in lines)]
    write_text(out.with_suffix(".md"), "\n".join([head, "", *text, "", *made, ""]))
    return "\n".join([*text, f"written to {out} and {out.with_suffix('.md')}"])


def plan_actual(plan_csv: Path, results: Path, out: Path) -> str:
    """Write predicted beside actual as CSV.

    Args:
        plan_csv: CSV made by `plan`.
        results: Folder of the scan set.
        out: CSV.

    Returns:
        One line of what it comes to.

    Raises:
        UserError: the plan is none, or a file of the results cannot be read.
    """
    table = actual.beside(plan_csv, results)
    write_text(out, csv_table(table))
    return f"{actual.totals(table)} Written to {out}"
