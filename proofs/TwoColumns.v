(* Two columns: the sweep never loses to rounding when each column goes to the nearest point of its grid.

   The first column is rounded alike by both; the last column is rounded best given the others. The
   argument carries no further: see Counterexample.v. *)

From Coq Require Import Reals Lra Lia Arith.
From Assay Require Import FiniteSums Quadratic Sweep LossIdentity Factors StepMinimiser.
Open Scope R_scope.

(* Any number of columns: no other grid point in the last column improves on the nearest one. *)
Theorem last_column_is_best : forall n H V D w q x grid Q,
  positive_definite (S n) H -> factors (S n) H V D ->
  nearest grid Q -> q n = Q (work V w q n) ->
  agree n x q -> grid (x n) ->
  quadratic (S n) H (fun j => w j - q j) <= quadratic (S n) H (fun j => w j - x j).
Proof.
  intros n H V D w q x grid Q positive F near chosen same on.
  assert (above := proj1 (pivots_of_positive_definite (S n) H V D F) positive).
  rewrite !(loss_identity (S n) H V D) by assumption.
  fold (spent V D w q (S n)). fold (spent V D w x (S n)).
  rewrite !spent_next, (spent_ext V D w x q n same), (work_ext V w x q n same), chosen.
  apply Rplus_le_compat_l, Rmult_le_compat_l; [apply Rlt_le, above; lia|].
  apply (nearest_square grid); assumption.
Qed.

Theorem up_to_two_columns : forall n H V D w (grid : nat -> R -> Prop) (Q : nat -> R -> R),
  (n <= 2)%nat -> positive_definite n H -> factors n H V D ->
  (forall j, (j < n)%nat -> nearest (grid j) (Q j)) ->
  quadratic n H (fun j => w j - decoded (sweep V Q w n) j) <= quadratic n H (fun j => w j - rounded Q w j).
Proof.
  intros n H V D w grid Q few positive F near. destruct n as [|n]; [unfold quadratic; simpl; lra|].
  apply (last_column_is_best n H V D w _ _ (grid n) (Q n)); try assumption.
  - apply near. lia.
  - apply sweep_is_the_recursion. lia.
  - intros j before. replace j with O by lia. rewrite sweep_is_the_recursion by lia.
    unfold rounded, work. simpl. f_equal. ring.
  - apply near. lia.
Qed.

Theorem two_columns_never_lose_to_rounding : forall H V D w (grid : nat -> R -> Prop) (Q : nat -> R -> R),
  positive_definite 2 H -> factors 2 H V D ->
  (forall j, (j < 2)%nat -> nearest (grid j) (Q j)) ->
  quadratic 2 H (fun j => w j - decoded (sweep V Q w 2) j) <= quadratic 2 H (fun j => w j - rounded Q w j).
Proof. intros H V D w grid Q. apply up_to_two_columns. lia. Qed.

(* A layer of two columns, each row with grids of its own. *)
Corollary two_columns_of_a_layer :
  forall rows H V D W (grid : nat -> nat -> R -> Prop) (Q : nat -> nat -> R -> R),
  positive_definite 2 H -> factors 2 H V D ->
  (forall r j, (r < rows)%nat -> (j < 2)%nat -> nearest (grid r j) (Q r j)) ->
  layer_loss rows 2 H (fun r j => W r j - decoded (sweep V (Q r) (W r) 2) j)
  <= layer_loss rows 2 H (fun r j => W r j - rounded (Q r) (W r) j).
Proof.
  intros rows H V D W grid Q positive F near. rewrite !layer_loss_by_rows. apply sum_le; intros r ?.
  apply (two_columns_never_lose_to_rounding H V D (W r) (grid r)); try assumption.
  intros; apply near; assumption.
Qed.
