/-! What Lean's own parser sees, whatever the text looks like. -/
namespace Silicon.Cheats.Commands
open Nat renaming succ → next -- syntax
open Nat hiding add -- syntax
theorem broken : (1 : Nat) = 2 := by decide -- error
theorem unknown : Missing = 2 := rfl -- error
end Silicon.Cheats.Commands
