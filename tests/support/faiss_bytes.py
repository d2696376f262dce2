def old_layouts(kit): pass
