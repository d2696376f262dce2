def cases(kit, n): pass
