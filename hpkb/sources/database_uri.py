"""The URI of a database as SQLAlchemy reads it, which MLflow opens its stores with, and the same without secrets."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from hpkb.errors import SourceError


def parsed(uri: str, product: str, form: str) -> URL:
    """Returns the parts of the URI; raises SourceError, without a word of the URI, where it has another form."""
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        raise SourceError(f"The {product} URI cannot be understood. Write {form}") from None
    # SQLAlchemy takes a password to end at the first @: the rest of it must not be taken for a host, and be shown.
    if "@" in f"{url.host}{url.database}":
        raise SourceError(f"The {product} URI has more than one @. Write {form}, and %40 for an @ in the password.")
    return url


def identity(url: URL, scheme: str, identifying: Collection[str]) -> str:
    """Returns the URI with nothing in it but what tells one database from another."""
    query = {key: value for key, value in url.query.items() if key in identifying}
    return URL.create(scheme, url.username, None, url.host, url.port, url.database, query).render_as_string()
