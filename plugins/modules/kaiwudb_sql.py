#!/usr/bin/python
# Copyright (c) 2026, kaiwudb.kubernetes contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

DOCUMENTATION = r"""
module: kaiwudb_sql
short_description: Run SQL on a KaiwuDB cluster in Kubernetes
version_added: 1.0.0
author:
  - kaiwudb.kubernetes contributors (@kaiwudb)
description:
  - Runs statements, or a file of statements, on a cluster, over the wire protocol (psycopg) through the API server's
    port-forward. No route to the pods, no NodePort and no kubectl is needed.
  - A ready pod of the cluster is chosen. If it cannot be reached, another one is asked, as long as nothing can have
    been run.
  - All statements share one connection and each is a transaction of its own, unless O(single_transaction) says
    otherwise. The first failure ends the run.
options:
  pod:
    description:
      - Use this pod and no other, by its name or its ordinal.
    type: str
  query:
    description:
      - One text, or a list of texts. A text may hold several statements with semicolons between them.
      - Exactly one of O(query) and O(src) is needed.
    type: raw
  src:
    description:
      - Path of a file of statements on the machine that runs the module.
    type: path
    aliases: [file]
  positional_args:
    description:
      - Arguments for C(%s) in the only statement, in order.
      - The server takes an argument's type from where it stands; write C(%s::INT) where nothing tells it. A list
        becomes an array, a dictionary JSON, V(null) is NULL. A percent sign of the statement itself is then written
        C(%%).
    type: list
    elements: raw
  named_args:
    description:
      - Arguments for C(%(name\)s) in the only statement. Otherwise like O(positional_args).
    type: dict
  unless:
    description:
      - A query that is run before, in a read-only transaction. If it returns a row, nothing else is run and the result
        is not changed.
    type: str
  database:
    description:
      - Database in which names are looked up. V(defaultdb) if this is unset.
    type: str
  user:
    description:
      - SQL user. V(root) if this is unset.
    type: str
  password:
    description:
      - Password of O(user). Refused on an insecure cluster, which trusts every login and knows no passwords.
    type: str
  tls:
    description:
      - How to meet a cluster that is not insecure.
    type: dict
    suboptions:
      mode:
        description:
          - V(require) only encrypts, V(verify-ca) also checks who signed the node's certificate, V(verify-full) also
            that it holds the pod's name.
          - V(verify-ca) if this is unset and O(tls.ca_cert) is set, otherwise V(require).
        type: str
        choices: [require, verify-ca, verify-full]
      ca_cert:
        description:
          - Path of the certificate authority of the database's certificates.
        type: path
      client_cert:
        description:
          - Path of the client certificate of O(user).
        type: path
      client_key:
        description:
          - Path of the key of O(tls.client_cert).
        type: path
  transport:
    description:
      - V(wire) needs psycopg on the machine that runs the module and the right to C(create) C(pods/portforward).
      - V(exec) runs the engine's own command line in the pod, for places without psycopg; it needs the right to
        C(create) C(pods/exec). All values are text, the text V(NULL) cannot be told from NULL, there are no arguments,
        no O(password), no O(single_transaction), and no session beyond one statement.
    type: str
    choices: [wire, exec]
    default: wire
  single_transaction:
    description:
      - Run all statements in one transaction, all or nothing. Cluster settings cannot be changed in one.
      - A transaction that failed only because of another one (SQLSTATE 40001) is run again, three times at most.
    type: bool
    default: false
  statement_timeout:
    description:
      - Seconds that one statement may take; V(0) is no limit.
    type: int
    default: 300
  connect_timeout:
    description:
      - Seconds that one pod may take to accept the login. A cluster that was never initialised accepts connections and
        never answers.
    type: int
    default: 10
  max_rows:
    description:
      - Rows of one result that are returned at most. RV(truncated) says whether there were more.
    type: int
    default: 1000
  result_file:
    description:
      - Path of a file on the machine that runs the module for all rows of the last result with rows, whatever
        O(max_rows) says. One JSON object a line, readable by its owner only. Not written in check mode.
    type: path
notes:
  - Whether something changed is read from the server's command tags. C(SELECT), C(SHOW), C(EXPLAIN), session and
    transaction statements change nothing; C(INSERT), C(UPDATE), C(UPSERT) and C(DELETE) do if they met at least one
    row; everything else does. A function with an effect inside a C(SELECT) is not seen.
  - Types. Integers, floats, booleans, JSON and arrays are what they are. C(DECIMAL), C(INTERVAL), C(UUID), C(INET) and
    C(TIME) are the server's text, so no digit is lost. C(DATE), C(TIMESTAMP) and C(TIMESTAMPTZ) are ISO 8601.
    C(BYTES) are Base64 (V(b64decode\) in Jinja). NULL is V(null). Of equal column names the second becomes C(name_2).
  - Results are held in memory before they are returned or written; use C(EXPORT) for the contents of a large table.
  - Statements with passwords in them are shown by Ansible like every argument; set C(no_log) on such a task.
requirements:
  - psycopg >= 3.1 for O(transport=wire)
extends_documentation_fragment:
  - kaiwudb.kubernetes.connection
  - kaiwudb.kubernetes.run.named
  - kaiwudb.kubernetes.attributes
  - kaiwudb.kubernetes.attributes.actiongroup_kaiwudb
attributes:
  check_mode:
    support: partial
    details:
      - Each statement is run in a read-only transaction that is rolled back. What reads returns its rows; what the
        server refuses to write is reported as a change; what is wrong fails.
      - The server cannot judge everything, see RV(unjudged). Statements that act outside of transactions (cluster
        settings, jobs, C(EXPORT), C(IMPORT)) are not sent at all.
  diff_mode:
    support: none
    details:
      - A server does not say what a statement changes.
  idempotent:
    support: partial
    details:
      - As far as the statements are, or with O(unless).
"""

EXAMPLES = r"""
- name: The table of the first steps
  kaiwudb.kubernetes.kaiwudb_sql:
    name: orders
    namespace: orders
    query:
      - CREATE DATABASE IF NOT EXISTS bank
      - CREATE TABLE IF NOT EXISTS bank.accounts (id INT PRIMARY KEY, balance DECIMAL)
      - UPSERT INTO bank.accounts VALUES (1, 1000.50)

- name: Read it
  kaiwudb.kubernetes.kaiwudb_sql:
    name: orders
    namespace: orders
    query: SELECT id, balance FROM bank.accounts ORDER BY id
  register: accounts

- name: Use what came back
  ansible.builtin.debug:
    msg: "account {{ item.id }} holds {{ item.balance }}"
  loop: "{{ accounts.rows }}"
  loop_control:
    label: "{{ item.id }}"

- name: Bound arguments, never a quoted text put together by hand
  kaiwudb.kubernetes.kaiwudb_sql:
    name: orders
    namespace: orders
    query: INSERT INTO bank.accounts VALUES (%(id)s, %(balance)s)
    named_args:
      id: 2
      balance: "250.00"
    unless: SELECT 1 FROM bank.accounts WHERE id = 2

- name: All or nothing, from a file
  kaiwudb.kubernetes.kaiwudb_sql:
    name: orders
    namespace: orders
    src: migration.sql
    single_transaction: true

- name: A large result goes to a file
  kaiwudb.kubernetes.kaiwudb_sql:
    name: orders
    namespace: orders
    query: SELECT * FROM bank.accounts
    result_file: /tmp/accounts.jsonl

- name: Without psycopg
  kaiwudb.kubernetes.kaiwudb_sql:
    name: orders
    namespace: orders
    query: SHOW DATABASES
    transport: exec
"""

RETURN = r"""
msg:
  description: One line about what happened.
  returned: always
  type: str
  sample: "orders-0: CREATE TABLE, INSERT 0 3, 3 rows"
rows:
  description:
    - Rows of the last statement that returned some, a dictionary each, O(max_rows) at most.
  returned: success
  type: list
  elements: dict
  sample: [{"id": 1, "balance": "1000.50"}]
rowcount:
  description:
    - Number of rows of that result before O(max_rows). Without such a result, rows changed by the last statement.
  returned: success
  type: int
columns:
  description: Columns of that result in order.
  returned: success
  type: list
  elements: dict
  sample: [{"name": "id", "type": "int8"}, {"name": "balance", "type": "numeric"}]
truncated:
  description: Whether RV(rows) holds fewer rows than the server returned.
  returned: success
  type: bool
results:
  description:
    - One entry for each statement that was run.
    - RV(results[].rows) is there only if more than one statement returned rows.
  returned: success
  type: list
  elements: dict
  contains:
    statement:
      description: Number of the statement, from 1.
      type: int
    tag:
      description: The server's command tag; with O(transport=exec) only of statements without rows.
      type: str
      sample: INSERT 0 3
    rowcount:
      description: Rows returned or changed.
      type: int
    columns:
      description: Columns in order.
      type: list
      elements: dict
    rows:
      description: Rows, O(max_rows) at most.
      type: list
      elements: dict
skipped_by_unless:
  description: Whether nothing was run because O(unless) returned a row.
  returned: success
  type: bool
unjudged:
  description: Numbers of the statements about which check mode can only say that they would probably change something.
  returned: in check mode
  type: list
  elements: int
result_file:
  description: The file that was written.
  returned: when O(result_file) was written
  type: str
pod:
  description: The pod that was asked.
  returned: success, and failure when a pod was asked
  type: str
  sample: orders-0
server:
  description: URL of the API server that was used.
  returned: success
  type: str
reason:
  description:
    - Why it failed, as a stable word.
    - "From the server: V(syntax), V(not_found), V(exists), V(constraint), V(forbidden), V(value), V(serialization),
      V(statement_timeout), V(resources), V(unsupported), V(read_only), V(not_in_transaction), V(sql)."
    - "On the way: V(connection), V(draining), V(login), V(security), V(timeout), V(no_pod), V(library_missing),
      V(input), V(unless), V(output), or C(api_) and a reason of the API server, such as V(api_forbidden)."
  returned: failure
  type: str
status:
  description: HTTP status of the API server's refusal; V(0) if it did not answer.
  returned: failure of a request to the API server
  type: int
sqlstate:
  description: SQLSTATE of the server's error.
  returned: failure, if the server gave one
  type: str
  sample: 42P01
error:
  description: The server's own message.
  returned: failure
  type: str
statement:
  description: Number of the statement that failed.
  returned: failure, if it belongs to one
  type: int
may_have_run:
  description: Whether the connection was lost before the answer, so that the statement may have taken effect.
  returned: failure
  type: bool
"""

import json
import os
import tempfile
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._cluster.names import Names
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.cli import Engine
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._engine.profiles import PROFILES
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.auth import AUTH_ARGS, connection_of
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.client import Client, runner
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._kube.errors import KubeError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.errors import SqlError
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.run import Report, Request, execute
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.session import Login, Outcome, Target, targets
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.shell import ShellSession
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.text import SplitError, Statement, split
from ansible_collections.kaiwudb.kubernetes.plugins.module_utils._sql.wire import WireSession, import_psycopg

ARGUMENTS: dict[str, dict[str, Any]] = {
    "name": {"type": "str", "required": True},
    "namespace": {"type": "str", "required": True},
    "pod": {"type": "str"},
    "query": {"type": "raw"},
    "src": {"type": "path", "aliases": ["file"]},
    "positional_args": {"type": "list", "elements": "raw"},
    "named_args": {"type": "dict"},
    "unless": {"type": "str"},
    "database": {"type": "str"},
    "user": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "tls": {
        "type": "dict",
        "options": {
            "mode": {"type": "str", "choices": ["require", "verify-ca", "verify-full"]},
            "ca_cert": {"type": "path"},
            "client_cert": {"type": "path"},
            "client_key": {"type": "path", "no_log": False},
        },
    },
    "transport": {"type": "str", "choices": ["wire", "exec"], "default": "wire"},
    "single_transaction": {"type": "bool", "default": False},
    "statement_timeout": {"type": "int", "default": 300},
    "connect_timeout": {"type": "int", "default": 10},
    "max_rows": {"type": "int", "default": 1000},
    "result_file": {"type": "path"},
}


def refuse(message: str) -> SqlError:
    return SqlError("input", message)


def statements_of(query: Any, src: str | None) -> list[Statement]:
    """All statements, numbered from 1. Raises SqlError with reason input."""
    if src:
        try:
            with open(src, encoding="utf-8") as file:
                texts = [file.read()]
        except (OSError, UnicodeDecodeError) as error:
            raise refuse(f"src: {src} cannot be read: {error}") from error
    else:
        texts = query if isinstance(query, list) else [query]
    found: list[Statement] = []
    for text in texts:
        if not isinstance(text, str):
            raise refuse(f"query: a text or a list of texts is needed, not {type(text).__name__}")
        try:
            found += split(text, len(found) + 1)
        except SplitError as error:
            raise refuse(f"{src or 'query'}: {error}") from error
    if not found:
        raise refuse(f"{src or 'query'}: there is no statement in it")
    return found


def request_of(wanted: dict[str, Any], check: bool) -> Request:
    """What the options ask for. Raises SqlError with reason input; sends nothing."""
    statements = statements_of(wanted["query"], wanted["src"])
    arguments = wanted["positional_args"] if wanted["positional_args"] is not None else wanted["named_args"]
    if arguments is not None and len(statements) != 1:
        raise refuse(f"arguments are for one statement, but there are {len(statements)}")
    if wanted["transport"] == "exec":
        for option in ("positional_args", "named_args", "password", "tls", "single_transaction"):
            if wanted[option]:
                raise refuse(f"{option} needs transport: wire; the engine's command line cannot do it")
    for option, least in (("statement_timeout", 0), ("connect_timeout", 1), ("max_rows", 0)):
        if wanted[option] < least:
            raise refuse(f"{option}: {wanted[option]} is too small, {least} is the least")
    if wanted["single_transaction"]:
        for statement in statements:
            if statement.transaction_control or statement.cluster_setting:
                raise refuse(f"single_transaction: statement {statement.number} ({statement.keyword}) cannot be in it")
    unless = split(wanted["unless"] or "", 0)
    if len(unless) > 1:
        raise refuse("unless: one query is needed")
    return Request(statements, arguments, unless[0] if unless else None, wanted["single_transaction"], check)


def login_of(wanted: dict[str, Any]) -> Login:
    tls = wanted["tls"] or {}
    return Login(
        database=wanted["database"] or "defaultdb",
        user=wanted["user"] or "root",
        password=wanted["password"] or None,
        connect_timeout=wanted["connect_timeout"],
        tls_mode=tls.get("mode") or ("verify-ca" if tls.get("ca_cert") else "require"),
        tls_ca=tls.get("ca_cert"),
        tls_cert=tls.get("client_cert"),
        tls_key=tls.get("client_key"),
    )


def find(client: Client, wanted: dict[str, Any]) -> list[Target]:
    """The pods to ask. Raises SqlError with reason no_pod or security."""
    names = Names(wanted["name"], wanted["namespace"])
    pods, _version = client.list("Pod", names.namespace, labels=names.pod_selector)
    found = targets(pods, wanted["pod"])
    if not found:
        what = f"pod {wanted['pod']}" if wanted["pod"] else "pod"
        raise SqlError(
            "no_pod",
            f"no running {what} of cluster {names.name} in namespace {names.namespace} ({len(pods)} pods in all)",
        )
    if wanted["password"] and any(target.insecure for target in found):
        raise SqlError(
            "security",
            f"password: cluster {names.name} is insecure (--insecure); it trusts every login and knows no passwords",
        )
    return found


def run(client: Client, wanted: dict[str, Any], request: Request) -> Report:
    login, found = login_of(wanted), find(client, wanted)
    limit = wanted["statement_timeout"]
    if wanted["transport"] == "wire":

        def wire(target: Target) -> WireSession:
            return WireSession(client, wanted["namespace"], target, login, statement_timeout=limit)

        return execute(wire, found, request)

    def shell(target: Target) -> ShellSession:
        engine = Engine(
            PROFILES["kwdb"],  # the pod's own command names binary, port and certificates
            runner(client, wanted["namespace"], target.container),
            [target.pod],
            certs_dir=target.certs_dir,
            binary=target.binary,
            sql_port=target.port,
        )
        return ShellSession(engine, login, statement_timeout=limit)

    return execute(shell, found, request)


def described(outcome: Outcome) -> dict[str, Any]:
    return {
        "statement": outcome.number,
        "tag": outcome.tag,
        "rowcount": outcome.count,
        "columns": [{"name": name, "type": kind} for name, kind in outcome.columns],
    }


def write(module: AnsibleModule, path: str, rows: list[dict[str, Any]]) -> None:
    """All or nothing: a file of which a half is missing must not be taken for a result."""
    handle, temporary = tempfile.mkstemp(dir=module.tmpdir)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    module.atomic_move(temporary, path)
    os.chmod(path, 0o600)


def result_of(report: Report, wanted: dict[str, Any], check: bool) -> dict[str, Any]:
    last, most = report.rows, wanted["max_rows"]
    rows = last.rows if last and last.rows is not None else []
    several = sum(outcome.rows is not None for outcome in report.outcomes) > 1
    results = []
    for outcome in report.outcomes:
        entry = described(outcome)
        if several and outcome.rows is not None:
            entry["rows"] = outcome.rows[:most]
        results.append(entry)
    shown = last or (report.outcomes[-1] if report.outcomes else None)
    result: dict[str, Any] = {
        "changed": report.changed,
        "pod": report.pod,
        "rows": rows[:most],
        "rowcount": shown.count if shown else 0,
        "columns": described(last)["columns"] if last else [],
        "truncated": len(rows) > most,
        "results": results,
        "skipped_by_unless": report.skipped,
    }
    if check:
        result["unjudged"] = report.unjudged
    result["msg"] = f"{report.pod}: {sentence(report, check)}"
    return result


def sentence(report: Report, check: bool) -> str:
    if report.skipped:
        return "nothing was run, unless returned a row"
    parts = []
    for outcome in report.outcomes[:5]:
        rows = f"{outcome.count} row{'' if outcome.count == 1 else 's'}"
        parts.append(rows if outcome.rows is not None else outcome.tag or "done")
    if len(report.outcomes) > 5:
        parts.append(f"and {len(report.outcomes) - 5} more")
    if check:
        parts.append("would change something" if report.changed else "would change nothing")
    return ", ".join(parts) or "done"


def main() -> None:
    module = AnsibleModule(
        argument_spec=AUTH_ARGS | ARGUMENTS,
        supports_check_mode=True,
        mutually_exclusive=[("query", "src"), ("positional_args", "named_args")],
        required_one_of=[("query", "src")],
    )
    wanted = module.params
    try:
        request = request_of(wanted, module.check_mode)
        if wanted["transport"] == "wire":
            import_psycopg()
        client = Client(connection_of(module))
        report = run(client, wanted, request)
    except SqlError as error:
        module.fail_json(msg=str(error), **error.data())
    except KubeError as error:
        module.fail_json(msg=str(error), reason=f"api_{error.reason}".lower(), status=error.status)
    result = result_of(report, wanted, module.check_mode) | {"server": client.server}
    if wanted["result_file"] and report.rows and not module.check_mode:
        write(module, wanted["result_file"], report.rows.rows or [])
        result["result_file"] = wanted["result_file"]
    elif result["truncated"]:
        module.warn(f"{result['rowcount']} rows, of which {wanted['max_rows']} are returned; result_file takes all")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
