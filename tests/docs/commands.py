"""Which commands on the pages are not run, and why; all others are run, some by another test."""

from __future__ import annotations

import re

#: Pages whose shell commands (all, or the matching ones) are run by another test.
ELSEWHERE = {
    ("docs/models.md", ""): "tests/serving/test_models_page.py",
    ("docs/web.md", "(curl|printf|OPENAI_BASE_URL=)"): "tests/web/test_docs.py",
    ("docs/reliability.md", "(openssl|model_signing) "): "tests/artifacts/test_signing.py",
}

#: Patterns of commands that no test runs. Instead, tests check that the modules, sub-commands, options, files, targets
#: and extras in them exist.
NOT_RUN = {
    r"\. \.venv/bin/activate$": "changes the shell that it runs in",
    r"make ": "sets up an environment of several GB, or runs this suite; the targets' commands are on the pages too",
    r"pip (install|download) ": "changes the environment, or fetches what does",
    r"img2poem --install-completion": "changes the user's shell; tests/cli/test_app.py tries the completion",
    r"img2poem serve(?! --check)": "runs until it is stopped; tests/serving starts it with these options",
    r"img2poem web": "runs until it is stopped; tests/web starts it with these options",
    r"img2poem write photo.jpg --engine triton_repo.mine": "needs the repository of a training that is not run",
    r"img2poem \w+ photo.jpg --url https:": "needs a server behind TLS; tests/cli/test_source.py asks one",
    r"python -m export\.all": "minutes; the fixture of the repository makes the first export, tests/export the others",
    r"python -m export\.check": "on a GPU, or minutes; tests/export/test_check.py does it on the CPU",
    r"python -m training\.": "minutes to hours; tests/training runs every stage on made-up data",
    r"python -m benchmarks\.": "minutes to hours, some as root; tests/benchmarks tries what they are made of",
    r"python -m pytest": "this suite",
    r"tensorboard ": "a server of others, over a training that is not run",
    r"perf_analyzer ": "measures a server for minutes; its package is not installed",
    r"docker |GRAFANA_PASSWORD=\S+ docker ": "needs a container engine; tests/deploy checks its files",
    r"kubectl ": "needs a cluster; tests/deploy renders the files and checks them",
    r"curl .*img2poem-key": "needs a server with a key; tests/serving/test_security.py asks with one and without",
    r"cp -r triton_repo.cpu/": "changes a served repository; tests/serving/test_faults.py does so",
}

#: Languages of code blocks that are not run.
NOT_RUN_LANGUAGES = {
    "nginx": "the configuration of a proxy, which is no part of img2poem",
    "textproto": "part of a config for a server with a GPU, which is not here",
}


def owner_of(page: str, command: str) -> str | None:
    """Return the other test that runs ``command`` of ``page``, if any."""
    for (owner, pattern), test in ELSEWHERE.items():
        if page == owner and re.match(pattern, command):
            return test
    return None


def reason_not_to_run(command: str) -> str | None:
    """Return why no test runs ``command``, or None if it should run."""
    for pattern, reason in NOT_RUN.items():
        if re.match(pattern, command, re.S):
            return reason
    return None
