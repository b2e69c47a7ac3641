"""What every board shall run now: the planner proposes, the checker refuses, nothing here does anything.

Pure: policy, inventory, catalog and the parent plan go in, a plan and named reasons come out.
"""
