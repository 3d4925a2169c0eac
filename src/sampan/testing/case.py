"""ClusterTestCase: unittest with a cluster in each test.

    class AppTest(ClusterTestCase):
        nodes = 3
        manifests = ("app.yaml",)

        def test_app(self):
            self.cluster.wait_for("deployment/app", "Available")

It may be combined with unittest.IsolatedAsyncioTestCase.
"""

import contextlib
import dataclasses
import inspect
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sampan.testing import linked_loop, setups, traces
from sampan.testing.cluster import NO_GATES, Cluster
from sampan.testing.report import Report, Witness
from sampan.testing.setups import Setup

__unittest = True  # so that unittest shows no line of this file


class ClusterTestCase(unittest.TestCase):
    """`cluster` is the test's own. Its class says what it is like; paths start from the file of the class.

    With `virtual_time` the cluster's time is that of all other code too, while the test runs.
    """

    seed: ClassVar[int] = 0
    nodes: ClassVar[int] = 1
    crds: ClassVar[Sequence[Path | str | Mapping[str, Any]]] = ()
    manifests: ClassVar[Sequence[Path | str | Mapping[str, Any]]] = ()
    virtual_time: ClassVar[bool] = False
    scheduling: ClassVar[Path | str | Mapping[str, Any] | tuple[()]] = ()
    feature_gates: ClassVar[Mapping[str, bool]] = NO_GATES
    layers: ClassVar[Sequence[str]] = ()

    cluster: Cluster
    _bases: ClassVar[setups.Bases]
    _setup: ClassVar[Setup]
    _witness: Witness | None = None

    @classmethod
    def setUpClass(cls) -> None:
        """Builds what the tests' clusters are forks of. Raises SetupError."""
        super().setUpClass()
        given = {field.name: getattr(cls, field.name) for field in dataclasses.fields(Setup)}
        cls._setup = Setup().with_(given, Path(inspect.getfile(cls)).parent)
        base = setups.build(cls._setup)
        cls.addClassCleanup(base.close)
        cls._bases = setups.Bases(cls._setup, base)

    def setUp(self) -> None:
        """A new cluster."""
        super().setUp()
        self.cluster = self._bases.fork(self._setup)
        self.addCleanup(self.cluster.close)
        self._witness = Witness(self.cluster)
        self.enterContext(setups.of_everybody(self.cluster, self._setup))

    @contextlib.contextmanager
    def subTest(self, *msg: Any, **params: Any) -> Iterator[None]:  # noqa: N802 (unittest's name)
        """As unittest's."""
        with super().subTest(*msg, **params), self._told():
            yield

    # The seams of unittest at which a test's own code is called, unknown to its types

    def _callSetUp(self) -> None:  # noqa: N802
        linked = linked_loop.installed() if self.virtual_time else contextlib.nullcontext()
        with self._told(), linked:  # the loop of coroutines is made before there is a cluster
            super()._callSetUp()  # type: ignore[misc]

    def _callTestMethod(self, method: Callable[[], Any]) -> None:  # noqa: N802
        with self._told():
            super()._callTestMethod(method)  # type: ignore[misc]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """An error within takes the report with it."""
        try:
            yield
        except unittest.SkipTest:
            raise
        except Exception as error:
            if self._witness is not None:
                traces.shorten(error)
                note = f"\n{Report(self._witness)}"
                if note not in getattr(error, "__notes__", ()):
                    error.add_note(note)
            raise
