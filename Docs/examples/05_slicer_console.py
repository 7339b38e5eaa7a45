"""5. In 3D Slicer's Python console: paste it, with the module MRI2PET Synthesis set up.

Makes the simulated person of the sample data, a synthetic PET over its T1, and the comparison with its PET.
"""

import slicer

from MRI2PETSynthesisUI.sample_data import loadPhantom

t1, pet = loadPhantom()
logic = slicer.util.getModuleLogic("MRI2PETSynthesis")
nodes = logic.synthesize(t1, petNode=pet, device="cpu")  # waits; onFinished=... returns at once

synthetic = slicer.mrmlScene.GetNodeByID(nodes.pet)
array = slicer.util.arrayFromVolume(synthetic)
print(synthetic.GetName(), synthetic.GetAttribute("MRI2PET.Unit"), "mean", array[array > 0].mean())
