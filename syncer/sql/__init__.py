"""What SQL means, feature by feature, and what a change of it means: no files, no database. Begin with `changes`.

`text`: SQL to a tree that keeps every word. `expressions`, `queries`: trees to an algebra (`algebra`, `functions`).
`digest`: one digest per meaning. `facts`: what else a definition tells. `clauses`: a difference in words.
`changes`: the judgement.
"""
