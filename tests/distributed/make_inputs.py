"""The inputs that tests copy instead of making them: make_inputs.py KESSOKU FOLDER"""
from harness import WORK, empty_work_folder, write_inputs

empty_work_folder()
write_inputs(WORK)
