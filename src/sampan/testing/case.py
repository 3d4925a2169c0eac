"""ClusterTestCase: unittest with a cluster in each test.

    class AppTest(ClusterTestCase):
        nodes = 3
        manifests = ("app.yaml",)

        def test_app(self):
            self.cluster.wait_for("deployment/app", "Available")

It may be combined with unittest.IsolatedAsyncioTestCase.
"""

import inspect
import unittest
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from sampan.testing import setups, traces
from sampan.testing.cluster import Cluster
from sampan.testing.report import Report, Witness
from sampan.testing.setups import Setup

__unittest = True  # so that unittest shows no line of this file


class ClusterTestCase(unittest.TestCase):
    """`cluster` is the test's own. Its class says what it is like; paths start from the file of the class."""

    seed: ClassVar[int] = 0
    nodes: ClassVar[int] = 1
    crds: ClassVar[Sequence[Path | str | Mapping[str, Any]]] = ()
    manifests: ClassVar[Sequence[Path | str | Mapping[str, Any]]] = ()

    cluster: Cluster
    _bases: ClassVar[setups.Bases]
    _setup: ClassVar[Setup]

    @classmethod
    def setUpClass(cls) -> None:
        """Builds what the tests' clusters are forks of. Raises SetupError."""
        super().setUpClass()
        given = {name: getattr(cls, name) for name in ("seed", "nodes", "crds", "manifests")}
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

    def _callTestMethod(self, method: Callable[[], Any]) -> None:  # noqa: N802 (unittest's name)
        try:
            super()._callTestMethod(method)  # type: ignore[misc]  # unittest's own seam, unknown to its types
        except unittest.SkipTest:
            raise
        except Exception as error:
            traces.shorten(error)
            error.add_note(f"\n{Report(self._witness)}")
            raise
