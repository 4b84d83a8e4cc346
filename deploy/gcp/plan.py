"""The commands that make a project what is declared. Pure: runs none of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.gcp.rights import ACCOUNT_PREFIX, RIGHTS, Rights
from shared.warehouse.tables import DATASETS

APIS = ("bigquery", "bigquerystorage", "iam", "iamcredentials", "storage")
"""Of googleapis.com. The last but one is what a pod's token is exchanged by."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where everything is to be."""

    project: str
    location: str
    """Of datasets and bucket, such as `EU`: it can't be changed later."""
    bucket: str | None = None
    """For the registry of models; None: it lies on a volume."""
    kubernetes_namespace: str | None = None
    """Where pods are these accounts, by workload identity; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Step:
    """One command. Done again it changes nothing, or `unless` sees that it is done."""

    command: Sequence[str]
    unless: Sequence[str] | None = None
    """A command that only reads, and succeeds where the step is done."""


def steps(place: Place) -> Iterator[Step]:
    """Everything but the rights on single tables: those have to be there first."""
    apis = [f"{name}.googleapis.com" for name in APIS]
    yield Step(["gcloud", "services", "enable", *apis, f"--project={place.project}"])
    for dataset, about in DATASETS.items():
        shown = ["bq", f"--project_id={place.project}", "show", "--dataset", f"{place.project}:{dataset}"]
        made = ["mk", "--dataset", f"--location={place.location}", f"--description={about}"]
        yield Step([*shown[:2], *made, f"{place.project}:{dataset}"], unless=shown)
    if place.bucket is not None:
        bucket, storage = f"gs://{place.bucket}", ["gcloud", "storage", "buckets"]
        safe = ["--uniform-bucket-level-access", "--public-access-prevention"]
        made = ["create", bucket, f"--project={place.project}", f"--location={place.location}", *safe]
        yield Step([*storage, *made], unless=[*storage, "describe", bucket])
    for service, rights in RIGHTS.items():
        # Who has rights in the bucket alone needs no account where there is none.
        if rights.project or rights.datasets or place.bucket is not None:
            yield from _of_account(place, service, rights)


def table_steps(place: Place) -> Iterator[Step]:
    """The rights on single tables."""
    for service, rights in RIGHTS.items():
        for table, role in rights.tables.items():
            yield _granted(place, "TABLE", table, role, service)


def account(place: Place, service: str) -> str:
    """The service's account, as Google names it."""
    return f"{ACCOUNT_PREFIX}{service}@{place.project}.iam.gserviceaccount.com"


def _of_account(place: Place, service: str, rights: Rights) -> Iterator[Step]:
    name, member = account(place, service), f"--member=serviceAccount:{account(place, service)}"
    accounts, project = ["gcloud", "iam", "service-accounts"], f"--project={place.project}"
    made = ["create", f"{ACCOUNT_PREFIX}{service}", f"--display-name=Flit Risk: {service}", project]
    yield Step([*accounts, *made], unless=[*accounts, "describe", name, project])
    for role in rights.project:
        # Without a condition said to be none, gcloud asks for one where the project has any.
        bound = [member, f"--role={role}", "--condition=None", "--quiet"]
        yield Step(["gcloud", "projects", "add-iam-policy-binding", place.project, *bound])
    for dataset, role in rights.datasets.items():
        yield _granted(place, "SCHEMA", dataset, role, service)
    if place.bucket is not None and rights.bucket is not None:
        bound = [f"gs://{place.bucket}", member, f"--role={rights.bucket}"]
        yield Step(["gcloud", "storage", "buckets", "add-iam-policy-binding", *bound])
    if place.kubernetes_namespace is not None:
        pod = f"serviceAccount:{place.project}.svc.id.goog[{place.kubernetes_namespace}/{ACCOUNT_PREFIX}{service}]"
        bound = [name, project, f"--member={pod}", "--role=roles/iam.workloadIdentityUser"]
        yield Step([*accounts, "add-iam-policy-binding", *bound])


def _granted(place: Place, kind: str, name: str, role: str, service: str) -> Step:
    """By BigQuery's own GRANT, which takes a right for given that is there already."""
    sql = f"GRANT `{role}` ON {kind} `{place.project}`.{name} TO 'serviceAccount:{account(place, service)}'"
    query = ["query", "--use_legacy_sql=false", f"--location={place.location}", sql]
    return Step(["bq", f"--project_id={place.project}", *query])
