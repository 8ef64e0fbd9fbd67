"""Which API a server speaks."""

from __future__ import annotations

from ..transport.server_address import ServerAddress
from .local_api import LocalApi
from .server_api import ServerApi


def choose_api(server: ServerAddress) -> ServerApi:
    """The API of a server: by ``ClientOptions(api=…)``, or by its address.

    An address that ends in ``/v2`` is asked first whether it has the routes of v2.
    """
    if not server.may_speak_v2:
        return LocalApi(server)
    from .v2_api import V2Api

    return V2Api(server, confirmed=server.options.api == "v2")
