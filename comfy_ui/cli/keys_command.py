"""Create, list and revoke API keys."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import ValidationError, closest
from ..settings import Settings
from .command_support import print_json, print_table

if TYPE_CHECKING:
    from ..web.auth.accounts import Role
    from ..web.auth.api_keys import ApiKeys
    from ..web.auth.key_limits import KeyLimits

__all__ = ["create", "limit", "list_", "revoke"]


def create(arguments: argparse.Namespace, settings: Settings) -> int:
    """Create a key and print it; it cannot be shown again."""
    from ..features import require_feature

    require_feature("ui")
    from ..scale.choose_stores import open_documents
    from ..web.auth.accounts import ADMIN_LOGIN, Role
    from ..web.auth.api_keys import ApiKeys

    roles = _roles(settings)
    owner = arguments.user or (ADMIN_LOGIN if not roles else None)
    if owner is None:
        raise ValidationError(
            "Whose key is it?", hint=f"Pass --user with one of: {', '.join(sorted(roles))}."
        )
    if owner != ADMIN_LOGIN and owner not in roles:
        raise ValidationError(f"There is no user '{owner}'.", hint=closest(owner, [*roles]))
    highest = roles.get(owner, Role.ADMIN)
    role = Role[arguments.role.upper()] if arguments.role else highest
    if role > highest:
        raise ValidationError(f"'{owner}' is no admin, so the key cannot be one.")
    _, text = ApiKeys(open_documents(settings)).create(
        owner, arguments.name, role, _limits(arguments), may_spend=bool(arguments.spend)
    )
    print("Copy the key now: it is not stored and cannot be shown again.", file=sys.stderr)
    print(text)
    return 0


def limit(arguments: argparse.Namespace, settings: Settings) -> int:
    """Replace the limits of a key, and its right to spend if that is given, at once."""
    from ..features import require_feature

    require_feature("ui")
    from ..scale.choose_stores import open_documents
    from ..web.auth.api_keys import ApiKeys

    keys = ApiKeys(open_documents(settings))
    if not keys.set_limits(arguments.id, _limits(arguments), may_spend=arguments.spend):
        raise _unknown_key(keys, arguments.id)
    return 0


def list_(arguments: argparse.Namespace, settings: Settings) -> int:
    """List the keys with their last use."""
    from ..features import require_feature

    require_feature("ui")
    from ..scale.choose_stores import open_documents
    from ..web.auth.api_keys import ApiKeys

    keys = ApiKeys(open_documents(settings))
    listed = [(key, keys.uses(key)) for key in keys.listed(arguments.user)]
    if arguments.json:
        print_json(
            [
                key.model_dump(exclude={"digest"}) | {"uses": [use.model_dump() for use in uses]}
                for key, uses in listed
            ]
        )
        return 0
    print_table(
        [
            (
                key.id,
                key.name,
                key.owner,
                key.role,
                str(key.limits) or "no limits",
                "paid workflows" if key.may_spend else "",
                f"created {_time(key.created_at)}",
                f"used {_time(uses[0].at)} from {uses[0].address}: {uses[0].route}"
                if uses
                else "never used",
            )
            for key, uses in listed
        ]
    )
    return 0


def revoke(arguments: argparse.Namespace, settings: Settings) -> int:
    """Revoke keys; a running app refuses them from then on."""
    from ..features import require_feature

    require_feature("ui")
    from ..scale.choose_stores import open_documents
    from ..web.auth.api_keys import ApiKeys

    keys = ApiKeys(open_documents(settings))
    for key_id in arguments.id:
        if not keys.revoke(key_id):
            raise _unknown_key(keys, key_id)
    return 0


def _limits(arguments: argparse.Namespace) -> KeyLimits:
    from ..web.auth.key_limits import key_limits

    return key_limits(arguments.requests, arguments.jobs, arguments.per_minute)


def _unknown_key(keys: ApiKeys, key_id: str) -> ValidationError:
    ids = [key.id for key in keys.listed()]
    return ValidationError(f"There is no key '{key_id}'.", hint=closest(key_id, ids))


def _roles(settings: Settings) -> dict[str, Role]:
    """The logins that the app has with these settings."""
    from ..scale.choose_stores import open_documents
    from ..web.auth.accounts import Accounts, Role

    roles = Accounts(open_documents(settings)).names()
    if settings.auth is not None:
        roles[settings.auth.get_secret_value().partition(":")[0]] = Role.ADMIN
    return roles


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M}"
