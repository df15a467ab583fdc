"""The conformance list as a library: what every engine must show, run on a real one.

A backend proves itself in ten lines of a test module:

    import pytest
    from headwater.testing.conformance import *          # the tests, by topic
    from headwater.testing.conformance import Target

    @pytest.fixture(scope="session")
    def target():
        return Target("mine://localhost/test")

Each test's name begins with the number of its property in docs/design/conformance.md. The backend's CAPABILITIES select: what is
native or emulated must hold, what is refused must raise `UnsupportedError` with advice where it is declared. `Target` says how to
restart the engine, how soon it hears of a death, and the unit of time.
"""

import pytest

_TOPICS = ("damage", "data", "dedup", "delay", "features", "flow", "groups", "lease", "ordering", "publish", "replay", "retry", "helpers", "proves")
pytest.register_assert_rewrite(*(f"{__name__}.{topic}" for topic in _TOPICS))

from headwater.testing.conformance.damage import *  # noqa: E402 - after the rewrite is registered; the tests are the interface
from headwater.testing.conformance.data import *  # noqa: E402
from headwater.testing.conformance.dedup import *  # noqa: E402
from headwater.testing.conformance.delay import *  # noqa: E402
from headwater.testing.conformance.features import *  # noqa: E402
from headwater.testing.conformance.flow import *  # noqa: E402
from headwater.testing.conformance.groups import *  # noqa: E402
from headwater.testing.conformance.lease import *  # noqa: E402
from headwater.testing.conformance.ordering import *  # noqa: E402
from headwater.testing.conformance.publish import *  # noqa: E402
from headwater.testing.conformance.replay import *  # noqa: E402
from headwater.testing.conformance.retry import *  # noqa: E402
from headwater.testing.conformance.target import Target, Trial  # noqa: E402

__all__ = ["Target", "Trial", *(name for name in globals() if name.startswith("test_"))]  # pyright: ignore[reportUnsupportedDunderAll] - computed: a test that is added is exported
