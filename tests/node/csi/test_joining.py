"""What a Node's news do for volumes of drivers."""

from sampan.node.csi.joining import Joined
from sampan.node.observed import VOLUMES, Failure


class Csi:
    def in_use(self):
        return ["d^h"]

    def tell(self, *, anew):
        return "told anew" if anew else ""


class Tasks:
    def __init__(self):
        self.begun = []

    def spawn(self, work, name, *, critical):
        self.begun.append(work)


class Record:
    def __init__(self, uid, volumes=None):
        self.uid, self.volumes, self.failures = uid, volumes, {VOLUMES: Failure("FailedMount", "", 9e9)}


class Agent:
    def __init__(self):
        self.records = {"waits": Record("waits"), "runs": Record("runs", {})}
        self.woken = []

    def wake(self, uid, seconds=0.0):
        self.woken.append(uid)


def test_news_of_the_node():
    """A volume that is attached wakes who waits; what is not in use as the Node says is told; others see the Node too."""
    agent, tasks, seen = Agent(), Tasks(), []
    joined = Joined(Csi(), agent, tasks, seen.append)
    quiet = {"status": {"volumesInUse": ["d^h"]}}
    joined.look(quiet)
    assert (agent.woken, tasks.begun, seen) == ([], [], [quiet])
    attached = {"status": {"volumesAttached": [{"name": "d^h"}], "volumesInUse": ["d^h"]}}
    joined.look(attached)
    joined.look(attached)
    assert (agent.woken, agent.records["waits"].failures) == (["waits"], {})
    joined.look({"status": {}})
    assert tasks.begun == ["told anew"]
