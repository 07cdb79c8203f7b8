"""`make demo`: the main job, end to end, on this machine: from nothing to a Korean GPT-2 trained on a cluster that did
not exist before. It only calls the commands that a user would call (`dure`, `cdk`, runs/cpu.sh) and times them.
"""
