"""One namespace of Redis, as its writer sees it: who owns it, which registry it shows, what was synced when."""

from __future__ import annotations

from collections.abc import Mapping

from syncer.errors import NamespaceError
from syncer.keyspace import field_name, markers_key, registry_key
from syncer.marker import REVISION, Marker, read_marker
from syncer.registry import Registry, owner, revision, to_document
from syncer.store import Store


def check_owner(store: Store, namespace: str, project: str, target: str) -> bool:
    """Whether the namespace has an owner; an empty one is anybody's. Raises NamespaceError when another one owns it."""
    document = store.get(registry_key(namespace))
    if document is None:
        return False
    other_project, other_target = owner(document)
    if (other_project, other_target) != (project, target):
        raise NamespaceError(
            f"the namespace '{namespace}' belongs to the project '{other_project}', target '{other_target}', "
            f"not to '{project}', target '{target}'",
            "choose another --namespace, or another Redis",
        )
    return True


def publish_registry(store: Store, namespace: str, registry: Registry, target: str) -> None:
    """Shows ``registry`` to readers, and its revision beside the markers, where every read sees that it changed."""
    document = to_document(registry, target)
    store.set(registry_key(namespace), document)
    store.set_field(markers_key(namespace), REVISION, revision(document).encode())


def read_markers(store: Store, namespace: str) -> dict[str, Marker]:
    """The markers of a namespace, by field: 'carrier_delays:2'."""
    fields = store.hash_fields(markers_key(namespace))
    fields.pop(REVISION.encode(), None)
    found = {field.decode(): read_marker(field.decode(), text) for field, text in fields.items()}
    return {field: marker for field, marker in found.items() if marker is not None}


def is_complete(markers: Mapping[str, Marker], registry: Registry) -> bool:
    """Whether every view of ``registry`` was synced with all its features, so that readers may be shown it."""
    return all(
        (marker := markers.get(field_name(view.name, view.version))) is not None
        and marker.as_of is not None
        and marker.complete_through >= view.highest_number
        for view in registry.views.values()
    )


def unserved(markers: Mapping[str, Marker], registry: Registry) -> list[str]:
    """The fields whose view version ``registry`` no longer has: what is online of them is left over."""
    return sorted(markers.keys() - {field_name(view.name, view.version) for view in registry.views.values()})


def write_marker(store: Store, namespace: str, field: str, marker: Marker) -> None:
    store.set_field(markers_key(namespace), field, marker.to_bytes())
