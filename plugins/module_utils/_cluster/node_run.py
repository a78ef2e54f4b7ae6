class NodeRun: pass
